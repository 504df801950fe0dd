//! What a device is asked before anything else, in two trips, since a trip costs
//! more than most of the questions: who it is and what is in reach, without which
//! none of its files can be listed; then, while they are, what it is, what is
//! installed, what runs.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use super::facts::{self, AppFacts, Facts, app_facts};
use super::parts::{self, cut, prelude};
use super::quote::quoted;
use super::server::Server;
use super::shell::Output;
use super::sizes::{Sizes, sizes};
use super::tier::{self, Reach, output};
use crate::fsys::Space;
use crate::model::Platform;
use crate::profile::Profiles;

/// How long all of it may take; a question of the root manager on the phone
/// may have to be answered first.
const QUESTIONS: Duration = Duration::from_mins(2);

/// What is wanted of a device.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The apps that are asked about.
    pub packages: Vec<String>,
    /// Whether root is to be tried.
    pub root: bool,
}

impl Wanted {
    /// The packages that the profiles know on Android.
    #[must_use]
    pub fn of(profiles: &Profiles, root: bool) -> Self {
        let all = profiles.apps().iter().filter(|a| a.platform == Platform::Android);
        Self { packages: all.map(|a| a.id.clone()).collect(), root }
    }
}

/// What the shell may do in these apps' folders of the shared storage; each is
/// asked for by itself, since devices differ in all three.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shared {
    /// Whether the folder that holds them can be listed.
    pub list: bool,
    /// Whether one of them is there.
    pub there: bool,
    /// Whether all that are there can be read.
    pub read: bool,
    /// Whether something can be removed from all that are there.
    pub write: bool,
}

/// What it answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers {
    pub facts: Facts,
    /// How root is reached, if it is: also when adb itself is root.
    pub root: Option<Reach>,
    /// The apps that are installed; none before the second trip.
    pub apps: BTreeMap<String, AppFacts>,
    /// Those that `run-as` works for.
    pub run_as: BTreeSet<String>,
    pub shared: Shared,
    /// Folders of these apps on cards that other devices can read as well.
    pub cards: Vec<String>,
    /// How much room there is for apps' data.
    pub room: Option<Space>,
    /// What `ps` printed.
    pub processes: Vec<u8>,
    /// Asked for only where nothing better is in reach.
    pub sizes: BTreeMap<String, Sizes>,
    /// All that was said, by the name of its part.
    parts: Parts,
}

/// What each part of a trip printed.
type Parts = BTreeMap<String, Output>;

/// What it is, and nothing else.
///
/// # Errors
/// The connection's; `InvalidData` when it does not say.
pub(super) fn identify(server: &Server, serial: &str) -> io::Result<Facts> {
    facts_of(&trip(server, serial, [WHO, "p who who; ", WHAT, "p what what"].concat().as_bytes())?)
}

/// The first trip: who it is, what is in reach and as whom.
///
/// # Errors
/// As [`identify`].
pub(super) fn reach(server: &Server, serial: &str, wanted: &Wanted) -> io::Result<Answers> {
    let mut answers = answers(trip(server, serial, &reach_script(wanted))?)?;
    if wanted.root && answers.root.is_none() && tier::restarts_as_root(server, serial)? {
        answers.root = Some(Reach::Plain);
    }
    Ok(answers)
}

/// The second trip: everything else, which [`Answers::with`] takes.
///
/// # Errors
/// The connection's; `InvalidData` for an answer of no form.
pub(super) fn rest(server: &Server, serial: &str, wanted: &Wanted) -> io::Result<Rest> {
    trip(server, serial, &rest_script(wanted)).map(Rest)
}

/// What the second trip brought.
#[derive(Debug)]
pub(super) struct Rest(Parts);

impl Answers {
    /// These with what the second trip brought.
    ///
    /// # Errors
    /// `InvalidData` when it says again what the first one did.
    pub(super) fn with(mut self, rest: Rest) -> io::Result<Self> {
        let mut parts = std::mem::take(&mut self.parts);
        let before = parts.len();
        let more = rest.0.len();
        parts.extend(rest.0);
        if parts.len() < before + more {
            let why = "the device gives an answer twice";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        // Root may have come after the first trip.
        Ok(Self { root: self.root, ..answers(parts)? })
    }
}

/// Runs a script and cuts what it prints into parts.
fn trip(server: &Server, serial: &str, script: &[u8]) -> io::Result<Parts> {
    let word = parts::unguessable();
    let script = [prelude(&word).as_bytes(), script].concat();
    let said = output(server, serial, &Reach::Plain, &script, QUESTIONS)?;
    cut(&said.stdout, word.as_bytes())
}

/// Defines `who`; sets `u` to adb's own user and `s` to the apps' folder in the
/// shared storage.
const WHO: &str = "export LC_ALL=C; u=${EUID:-$(id -u)}; s=$(cd -P /sdcard/Android/data 2>/dev/null && pwd -P); \
    who() { print -r -- \"ro.serialno=$(getprop ro.serialno)\"; print -r -- \"uid=$u\"; \
    command -v su >/dev/null 2>&1 && print su=yes; [ -z \"$s\" ] || print -r -- \"shared=$s\"; }; ";

/// Defines `what`.
const WHAT: &str = "what() { for k in ro.product.model ro.build.version.release ro.build.version.sdk; do \
    print -r -- \"$k=$(getprop $k)\"; done; print -r -- \"zone=$(date +%z)\"; }; ";

/// Sets `r` to how root is reached; nothing when it is not.
const TRY_ROOT: &str = "if [ \"$u\" = 0 ]; then r=plain; \
    elif o=$(su -c 'id -u' 2>/dev/null) && [ \"$o\" = 0 ]; then r=su-c; \
    elif o=$(su 0 id -u 2>/dev/null) && [ \"$o\" = 0 ]; then r=su-0; fi; ";

/// Defines what is asked of the shared storage.
const SHARED: &str = "top() { ls \"$s\" >/dev/null; }; \
    one() { q=$s/$1; [ -n \"$s\" ] && [ -d \"$q\" ] || return 1; [ -r \"$q\" ] && [ -x \"$q\" ] && print read; \
    [ -d \"$q/cache\" ] && q=$q/cache; [ -w \"$q\" ] && print write; return 0; }; ";

/// Lists what is installed into `l`; nothing when the device does not tell, as
/// some with a work profile do not.
const INSTALLED: &str =
    "l=$(pm list packages --user 0 2>/dev/null); case $l in *package:*) ;; *) l=;; esac; ";

fn reach_script(wanted: &Wanted) -> Vec<u8> {
    let root = if wanted.root { TRY_ROOT } else { "[ \"$u\" = 0 ] && r=plain; " };
    let mut out = [
        WHO,
        "p who who; r=; ",
        root,
        "p root print -r -- \"$r\"; [ -z \"$r\" ] || exit 0; ",
        SHARED,
        INSTALLED,
    ]
    .concat()
    .into_bytes();
    out.extend(each(wanted));
    out.extend(
        b"p \"as $a\" run-as \"$a\" id -u; p \"shared $a\" one \"$a\"; done; \
          p top top; p sizes dumpsys diskstats; exit 0",
    );
    out
}

fn rest_script(wanted: &Wanted) -> Vec<u8> {
    let begin = ["export LC_ALL=C; ", WHAT, "p what what; p users pm list users; ", INSTALLED].concat();
    let mut out = begin.into_bytes();
    out.extend(each(wanted));
    out.extend(
        b"p \"$w $a\" dumpsys package \"$a\"; done; cards() { for q in /storage/*/Android/data/*; do \
          case $q in /storage/emulated/*|/storage/self/*|*'*'*) ;; *) print -r -- \"$q\";; esac; done; }; p cards cards; \
          p room stat -f -c '%a %b %S %d %c' /data; p ps ps -A -o PID,NAME; exit 0",
    );
    out
}

/// Begins a loop over those of the wanted packages, as `a`, that may be
/// installed; `w` is `about` when that is known, else `maybe`.
fn each(wanted: &Wanted) -> Vec<u8> {
    let mut out = b"for a in".to_vec();
    for package in &wanted.packages {
        out.push(b' ');
        out.extend(quoted(package.as_bytes()));
    }
    // Each package stands on a line of its own.
    out.extend(
        b"; do w=maybe; if [ -n \"$l\" ]; then w=about; \
          case \"\n$l\n\" in *\"\npackage:$a\n\"*) ;; *) continue;; esac; fi; ",
    );
    out
}

/// Who it is only the first trip says: what belongs to it here goes by that.
fn facts_of(parts: &Parts) -> io::Result<Facts> {
    let who = parts.get("who").ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let what = parts.get("what").map(|part| Facts::parse(&part.stdout)).unwrap_or_default();
    let Facts { model, release, sdk, zone, .. } = what;
    Ok(Facts { model, release, sdk, zone, ..Facts::parse(&who.stdout) })
}

fn answers(parts: Parts) -> io::Result<Answers> {
    let good = |name: &str| parts.get(name).filter(|p| p.ran.code == 0);
    let text = |name: &str| good(name).map(|p| p.stdout.as_slice()).unwrap_or_default();
    let mut out = Answers { facts: facts_of(&parts)?, ..Answers::default() };
    out.facts.other_users = facts::other_users(text("users"));
    out.root = match text("root").trim_ascii() {
        b"plain" => Some(Reach::Plain),
        b"su-c" => Some(Reach::SuCommand),
        b"su-0" => Some(Reach::SuUser),
        _ => None,
    };
    out.shared = Shared { list: good("top").is_some(), there: false, read: true, write: true };
    for (name, part) in &parts {
        let Some((what, package)) = name.split_once(' ') else { continue };
        match what {
            "about" => {
                out.apps.insert(package.to_owned(), app_facts(&part.stdout, &out.facts.zone));
            }
            "maybe" if facts::is_about(&part.stdout, package) => {
                out.apps.insert(package.to_owned(), app_facts(&part.stdout, &out.facts.zone));
            }
            "as" if part.ran.code == 0 && part.stdout.trim_ascii().iter().all(u8::is_ascii_digit) => {
                out.run_as.insert(package.to_owned());
            }
            "shared" if part.ran.code == 0 => {
                let says = |word: &[u8]| part.stdout.split(|&b| b == b'\n').any(|l| l == word);
                out.shared.there = true;
                out.shared.read &= says(b"read");
                out.shared.write &= says(b"write");
            }
            _ => {}
        }
    }
    out.cards = facts::cards(text("cards"));
    let is_one = |path: &String| path.rsplit('/').next().is_some_and(|p| out.apps.contains_key(p));
    out.cards.retain(is_one);
    out.room = facts::room(text("room"));
    out.processes = text("ps").to_vec();
    out.sizes = sizes(text("sizes"));
    out.sizes.retain(|package, _| out.apps.contains_key(package));
    out.parts = parts;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, stdout: &str, code: u8) -> String {
        format!("{stdout}@w@{name}={code}\n@w@\n")
    }

    fn read(all: &[String]) -> io::Result<Answers> {
        answers(cut(all.concat().as_bytes(), b"@w@").unwrap())
    }

    #[test]
    fn answers_are_told_apart() {
        let who = part("who", "ro.serialno=A1\nuid=2000\n", 0);
        let what = part("what", "ro.build.version.sdk=33\nzone=+0000\nro.serialno=B2\nuid=0\n", 0);
        let all = [
            who.clone(),
            what.clone(),
            part("root", "\n", 0),
            part("users", "Users:\n\tUserInfo{0:Owner:c13} running\n\tUserInfo{10:Work:1030}\n", 0),
            part("about com.a", "versionName=1\n", 0),
            part("maybe com.b", "Unable to find package: com.b\n", 0),
            part("maybe com.c", "  Package [com.c] (abc):\nversionName=3\n", 0),
            part("as com.a", "10123\n", 0),
            part("as com.c", "", 1),
            part("shared com.a", "read\nwrite\n", 0),
            part("shared com.c", "read\n", 0),
            part("top", "", 0),
            part("room", "10 20 4096 5 6\n", 0),
            part("ps", "PID NAME\n1 init\n", 0),
            part(
                "sizes",
                "Package Names: [\"com.a\"]\nApp Sizes: [1]\nApp Data Sizes: [2]\nCache Sizes: [3]\n",
                0,
            ),
        ];
        let found = read(&all).unwrap();
        assert_eq!(found.facts.other_users, ["10 (Work)"]);
        assert_eq!((found.facts.serial.as_str(), found.facts.sdk, found.facts.is_root), ("A1", 33, false));
        assert_eq!(found.apps.keys().collect::<Vec<_>>(), ["com.a", "com.c"]);
        assert_eq!(found.run_as.iter().collect::<Vec<_>>(), ["com.a"]);
        assert_eq!(found.shared, Shared { list: true, there: true, read: true, write: false });
        assert_eq!((found.root, found.sizes["com.a"].cache), (None, 3));
        assert_eq!(found.room.map(|r| (r.free, r.free_files)), Some((40960, Some(5))));
        assert!(found.processes.starts_with(b"PID"));
        assert_eq!(read(&[who.clone(), part("root", "su-c\n", 0)]).unwrap().root, Some(Reach::SuCommand));
        // In two trips, and root in between.
        let parts = |all: &[String]| cut(all.concat().as_bytes(), b"@w@").unwrap();
        let first = Answers { root: Some(Reach::Plain), ..read(&all[..1]).unwrap() };
        assert!(first.apps.is_empty());
        let whole = first.clone().with(Rest(parts(&all[1..]))).unwrap();
        assert_eq!((whole.root, whole.apps, whole.sizes), (Some(Reach::Plain), found.apps, found.sizes));
        assert!(first.with(Rest(parts(&[what, who]))).is_err(), "it says anew who it is");
        // One that does not say what it is gets no folder among the records.
        assert!(read(&[part("root", "plain\n", 0)]).is_err());
    }
}
