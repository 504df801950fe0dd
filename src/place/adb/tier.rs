//! What this computer may do on a device, and commands as whoever may.

use std::io;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::quote::quoted;
use super::server::Server;
use super::shell::{self, Input, Output};

/// How a command is run, and so as whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// As adb's own user: the shell, or root after `adb root`.
    Plain,
    /// `su -c COMMAND`: Magisk, KernelSU.
    SuCommand,
    /// `su 0 sh -c COMMAND`: Android's own, on builds for developers.
    SuUser,
    /// As one app that lets itself be debugged.
    RunAs(String),
}

impl Reach {
    /// The command as the device's shell gets it.
    #[must_use]
    pub fn wrap(&self, command: &[u8]) -> Vec<u8> {
        let before: Vec<u8> = match self {
            Self::Plain => return command.to_vec(),
            Self::SuCommand => b"su -c ".to_vec(),
            Self::SuUser => b"su 0 sh -c ".to_vec(),
            Self::RunAs(package) => [b"run-as ".as_slice(), &quoted(package.as_bytes()), b" sh -c "].concat(),
        };
        [before, quoted(command)].concat()
    }
}

/// What is in reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// The shared storage only.
    Shell,
    /// Besides, the private data of apps that let themselves be debugged.
    RunAs,
    /// Everything.
    Root,
}

impl Tier {
    /// The word used in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::RunAs => "run-as",
            Self::Root => "root",
        }
    }
}

/// How long a small question may take.
const QUESTION: Duration = Duration::from_secs(45);
/// More than any answer to a small question.
const MAX_ANSWER: usize = 4 << 20;

/// Runs a command and collects what it prints, up to a few MiB.
///
/// # Errors
/// The connection's; `InvalidData` for more output than is sane.
pub(crate) fn output(
    server: &Server,
    serial: &str,
    reach: &Reach,
    command: &[u8],
    limit: Duration,
) -> io::Result<Output> {
    let mut stdout = Vec::new();
    let mut sink = |part: &[u8]| {
        if stdout.len() + part.len() > MAX_ANSWER {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the device prints far too much"));
        }
        stdout.extend(part);
        Ok(())
    };
    let ran = shell::run(server, serial, &reach.wrap(command), Input::Nothing, &mut sink, limit)?;
    Ok(Output { ran, stdout })
}

/// Has adb's daemon itself start anew as root, where it may: on builds for
/// developers. Whether it has.
///
/// # Errors
/// The connection's.
pub(crate) fn restarts_as_root(server: &Server, serial: &str) -> io::Result<bool> {
    let mut answer = Vec::new();
    {
        let mut stream = server.open(serial, b"root:")?;
        let _ = io::Read::read_to_end(&mut io::Read::take(&mut stream, 4096), &mut answer);
    }
    if !String::from_utf8_lossy(&answer).contains("restarting") {
        return Ok(false);
    }
    let is_root = || {
        let said = output(server, serial, &Reach::Plain, b"id -u", QUESTION)?;
        io::Result::Ok(said.ran.code == 0 && said.stdout.trim_ascii() == b"0")
    };
    let end = Instant::now() + server.patience;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
        if is_root().unwrap_or(false) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_one_word_for_su() {
        let text = |r: Reach| String::from_utf8(r.wrap(b"echo 'a b'")).unwrap();
        assert_eq!(text(Reach::Plain), "echo 'a b'");
        assert_eq!(text(Reach::SuCommand), r"su -c 'echo '\''a b'\'''");
        assert_eq!(text(Reach::SuUser), r"su 0 sh -c 'echo '\''a b'\'''");
        assert_eq!(text(Reach::RunAs("a.b".into())), r"run-as 'a.b' sh -c 'echo '\''a b'\'''");
    }
}
