//! What a computer, or a copy of one, shows without a packet being sent: plain
//! files and the environment.

mod browser;
mod chromium;
mod firefox;
mod hosts;
mod policy;
mod proxy;
mod route;
mod system;

use std::io;

pub use browser::{Browser, Extension, Setting};
pub use hosts::{Entry, hosts};
pub use policy::Policy;
pub use proxy::Proxies;
pub use route::Routes;
pub use system::System;

use super::evidence::{Seen, Unseen};
use super::phone::Memory;
use crate::model::Platform;
use crate::scan::Scan;

/// A computer.
#[derive(Debug, Clone)]
pub struct Machine {
    pub platform: Platform,
    /// Lines of the hosts file that are about the shop's hosts.
    pub hosts: Seen<Vec<Entry>>,
    pub proxies: Proxies,
    pub routes: Seen<Routes>,
    pub memory: Seen<Memory>,
    pub system: System,
    pub policies: Vec<Policy>,
    /// Whether a resolver is named in `resolv.conf`; none where there is no such file.
    pub resolver: Option<bool>,
    /// Whether it runs now; an image does not.
    pub live: bool,
}

/// How the files of a computer are read: by their path below its top, cut at a
/// size.
pub trait Files {
    /// The file's content.
    ///
    /// # Errors
    /// The system's.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;

    /// The names in a folder.
    ///
    /// # Errors
    /// The system's.
    fn names(&self, path: &str) -> io::Result<Vec<String>>;

    /// A file below the folder that keeps the person's settings.
    ///
    /// # Errors
    /// The system's.
    fn config(&self, path: &str) -> io::Result<Vec<u8>>;

    /// What one of the system's own programs prints about its settings; an image
    /// has no programs.
    ///
    /// # Errors
    /// `NotFound` if there is no such program; the system's.
    fn print(&self, _program: &str, _arguments: &[&str]) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    /// The memory of the computer this runs on.
    fn memory(&self) -> Option<Memory> {
        None
    }
}

/// An environment, as a function from names to values; an image has none.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Maximum size of a settings file.
pub const MAX_FILE: u64 = 4 << 20;

impl Machine {
    /// Looks at a computer.
    #[must_use]
    pub fn look(platform: Platform, live: bool, files: &dyn Files, env: Env<'_>) -> Self {
        let hosts_path = match platform {
            Platform::Windows => "Windows/System32/drivers/etc/hosts",
            _ => "etc/hosts",
        };
        let linux = platform == Platform::Linux;
        Self {
            platform,
            hosts: seen(files.read(hosts_path)).map(|text| hosts::hosts(&text)),
            proxies: Proxies::look(platform, live, files, env),
            routes: if linux && live { Routes::look(files) } else { Err(Unseen::NotAsked) },
            memory: if live { system::memory(files) } else { Err(Unseen::NotAsked) },
            system: System::look(live, files, env),
            policies: if linux { policy::look(files) } else { Vec::new() },
            resolver: files
                .read("etc/resolv.conf")
                .ok()
                .filter(|_| linux && live)
                .map(|text| names_one(&text)),
            live,
        }
    }

    /// Looks at the browsers that a scan found.
    #[must_use]
    pub fn browsers(scan: &Scan) -> Vec<Browser> {
        browser::look(scan)
    }
}

/// Whether `resolv.conf` names a resolver.
fn names_one(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    text.lines().take(10_000).any(|l| l.split_whitespace().next() == Some("nameserver"))
}

fn seen(read: io::Result<Vec<u8>>) -> Seen<Vec<u8>> {
    read.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Unseen::Absent,
        io::ErrorKind::PermissionDenied => Unseen::Refused,
        _ => Unseen::Unknown,
    })
}
