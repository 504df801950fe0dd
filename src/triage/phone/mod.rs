//! What an Android phone answers without root, and what is read from it.
//!
//! The answers hold names of networks, addresses, SQL and other people's apps.
//! They stay in memory, are cut at a size, and are dropped when they were read:
//! what is kept is counts, versions, dates, codes of countries.

mod appops;
mod connectivity;
mod dbinfo;
mod disk;
mod dns;
mod dropbox;
mod exits;
mod logs;
mod package;
mod probes;
mod said;
mod settings;
mod sqlite;
mod webview;

use std::collections::BTreeSet;

pub use appops::Background;
pub use connectivity::{Blocked, Network, Networks};
pub use dbinfo::Databases;
pub(crate) use disk::meminfo;
pub use disk::{Disk, Memory};
pub use dns::Resolvers;
pub use dropbox::Drops;
pub use exits::{Exit, Exits};
pub use logs::Logs;
pub use package::Package;
pub(crate) use package::version;
pub use probes::{CLOCK, Probe, clock_seconds, probes};
pub use said::Answers;
pub use settings::{Properties, Settings};
pub(crate) use settings::{is_day, locale_country, zone};
pub use sqlite::{Harm, harm_of};
pub use webview::WebView;

use super::evidence::{Seen, Unseen};

/// One of the shop's apps on a phone.
#[derive(Debug, Clone)]
pub struct App {
    /// The package: `com.zhiliaoapp.musically`.
    pub id: String,
    /// Its name for a person.
    pub name: String,
    pub package: Seen<Package>,
    pub exits: Seen<Exits>,
    pub databases: Seen<Databases>,
    pub drops: Seen<Drops>,
    pub logs: Seen<Logs>,
    pub background: Seen<Background>,
    /// The standby bucket: 45 is restricted.
    pub bucket: Seen<u32>,
    /// What Android counted of its cache, in bytes.
    pub cache: Option<u64>,
}

/// What a phone answered.
#[derive(Debug, Clone)]
pub struct Phone {
    pub model: String,
    pub release: String,
    pub sdk: u32,
    /// How far its clock is ahead of this computer's, in seconds.
    pub clock_ahead: Seen<i64>,
    pub networks: Seen<Networks>,
    pub resolvers: Seen<Resolvers>,
    pub settings: Seen<Settings>,
    pub properties: Seen<Properties>,
    pub webview: Seen<WebView>,
    pub disk: Seen<Disk>,
    pub memory: Seen<Memory>,
    /// Whether data saver is on.
    pub data_saver: Seen<bool>,
    pub apps: Vec<App>,
    /// The probes whose answers were too long to be read to their end.
    pub cut: BTreeSet<&'static str>,
}

/// What is known of a phone before it is asked.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub model: String,
    pub release: String,
    pub sdk: u32,
    /// The phone's time zone as `date +%z` prints it.
    pub zone: String,
    /// The apps to ask about: package and name.
    pub apps: Vec<(String, String)>,
    /// How far its clock is ahead of this computer's, in seconds.
    pub clock_ahead: Option<i64>,
}

impl Phone {
    /// Reads what a phone answered.
    #[must_use]
    pub fn read(known: &Known, answers: &Answers) -> Self {
        let apps: Vec<App> = known.apps.iter().map(|(id, name)| app(known, answers, id, name)).collect();
        Self {
            model: known.model.clone(),
            release: known.release.clone(),
            sdk: known.sdk,
            clock_ahead: known.clock_ahead.ok_or(Unseen::Unknown),
            networks: connectivity::read(answers),
            resolvers: dns::read(answers),
            settings: settings::read(answers),
            properties: settings::properties(answers),
            webview: webview::read(answers),
            disk: disk::read(answers),
            memory: disk::memory(answers),
            data_saver: appops::data_saver(answers),
            apps,
            cut: answers.cut(),
        }
    }
}

fn app(known: &Known, answers: &Answers, id: &str, name: &str) -> App {
    let package = package::read(answers, id, &known.zone);
    let uid = package.as_ref().ok().and_then(|p| p.uid);
    App {
        exits: exits::read(answers, id, &known.zone),
        databases: dbinfo::read(answers, id),
        drops: dropbox::read(answers, id, &known.zone),
        logs: logs::read(answers, id, uid),
        background: appops::read(answers, id),
        bucket: appops::bucket(answers, id),
        cache: disk::cache(answers, id),
        id: id.to_owned(),
        name: name.to_owned(),
        package,
    }
}
