//! One attached device: what it is, what is in reach on it, and its files as a
//! place.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::facts::{self, AppFacts, Facts, app_facts};
use super::files::Files;
use super::mirror::{Heads, Mirror};
use super::server::{Attached, Server};
use super::tier::{self, Reach, Tier, output};
use crate::error::{Error, Kind, Result};
use crate::fsys::{Mounted, RelPath, Remote as _, mount, printable};
use crate::model::{Class, Platform};
use crate::place::{BaseFolder, Note, Place, Scope, Target};

/// How long a question to the package manager may take.
const QUESTION: Duration = Duration::from_secs(90);
/// How long an app may take to be gone after it was stopped.
const GONE: Duration = Duration::from_secs(10);
/// What this program needs of the device's adb daemon.
const SHELL_V2: &str = "shell_v2";

/// A device that answers.
#[derive(Debug, Clone)]
pub struct Device {
    server: Server,
    /// What adb calls it.
    pub adb: Attached,
    pub facts: Facts,
}

impl Device {
    /// Asks a device what it is.
    ///
    /// # Errors
    /// Kind `Device` when it is not ready, does not answer, or its daemon
    /// cannot tell how commands end.
    pub fn connect(server: &Server, adb: &Attached) -> Result<Self> {
        let name = &adb.serial;
        if !adb.is_ready() {
            return Err(
                Error::new(Kind::Device, format!("the device {name} is {}", adb.state)).hint(adb.advice())
            );
        }
        let fail = |e: io::Error| unanswered(name, &e);
        let features = server.features(name).map_err(fail)?;
        if !features.iter().any(|f| f == SHELL_V2) {
            return Err(Error::new(
                Kind::Device,
                format!("the device {name} speaks only the old shell protocol, which does not tell how a command ended"),
            )
            .hint("nothing can be verified on it, so nothing is done; Android 7 or newer is needed"));
        }
        let said = output(server, name, &Reach::Plain, facts::SCRIPT, b"", QUESTION).map_err(fail)?;
        let mut facts = Facts::parse(&said.stdout);
        if facts.serial.is_empty() {
            facts.serial = facts::plain(name);
        }
        Ok(Self { server: server.clone(), adb: adb.clone(), facts })
    }

    /// The device that a person named, by adb's name for it or by its
    /// hardware's serial number; the only one when nothing was named.
    ///
    /// # Errors
    /// Kind `Device` when it is not there or not ready, `Usage` when several
    /// are and none was named.
    pub fn find(server: &Server, wanted: Option<&str>) -> Result<Self> {
        let all = server.devices()?;
        let shown = all.iter().map(|a| a.serial.as_str()).collect::<Vec<_>>().join(", ");
        let Some(wanted) = wanted else {
            return match all.as_slice() {
                [] => Err(absent("no device is attached")),
                [one] => Self::connect(server, one),
                _ => Err(Error::new(Kind::Usage, "several devices are attached")
                    .hint(format!("name one with --device: {shown}"))),
            };
        };
        if let Some(one) = all.iter().find(|a| a.serial == wanted) {
            return Self::connect(server, one);
        }
        let mut known = all.iter().filter(|a| a.is_ready()).filter_map(|a| Self::connect(server, a).ok());
        let mut hits = known.by_ref().filter(|d| d.facts.serial == wanted);
        match (hits.next(), hits.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(Error::new(
                Kind::Device,
                format!("two attached devices call themselves {}", printable(wanted)),
            )
            .hint(format!("use adb's own name: {shown}"))),
            (None, _) => Err(absent(&format!("the device {} is not attached", printable(wanted)))),
        }
    }

    /// How far this computer reaches; root is only tried when it is wanted.
    ///
    /// # Errors
    /// Kind `Device` when it does not answer, `Refused` when root is wanted
    /// and there is none.
    pub fn reach(&self, root: bool) -> Result<(Tier, Reach)> {
        if self.facts.is_root {
            return Ok((Tier::Root, Reach::Plain));
        }
        if !root {
            return Ok((Tier::Shell, Reach::Plain));
        }
        let serial = &self.adb.serial;
        match tier::root(&self.server, serial).map_err(|e| unanswered(serial, &e))? {
            Some(reach) => Ok((Tier::Root, reach)),
            None => Err(Error::new(Kind::Refused, format!("there is no root on {serial}"))
                .hint("allow it for the shell in the root manager's app, or go without --root")),
        }
    }

    /// Of these packages, what is known of those that are installed.
    ///
    /// # Errors
    /// Kind `Device` when it does not answer.
    pub fn apps<'a>(&self, packages: impl Iterator<Item = &'a str>) -> Result<BTreeMap<String, AppFacts>> {
        let there: BTreeSet<&str> = packages.filter(|p| self.facts.packages.contains(*p)).collect();
        if there.is_empty() {
            return Ok(BTreeMap::new());
        }
        let words: Vec<String> = there
            .iter()
            .map(|p| String::from_utf8_lossy(&super::quoted(p.as_bytes())).into_owned())
            .collect();
        let command = format!(
            "for p in {}; do echo \"{} $p\"; dumpsys package \"$p\"; done",
            words.join(" "),
            facts::ABOUT
        );
        let said = output(&self.server, &self.adb.serial, &Reach::Plain, command.as_bytes(), b"", QUESTION)
            .map_err(|e| unanswered(&self.adb.serial, &e))?;
        let about = facts::by_package(&said.stdout);
        let facts = |p: &str| about.get(p).map(|text| app_facts(text, &self.facts.zone)).unwrap_or_default();
        Ok(there.into_iter().map(|p| (p.to_owned(), facts(p))).collect())
    }

    /// Whether `run-as` really works for a package that says so.
    ///
    /// # Errors
    /// Kind `Device` when it does not answer.
    pub fn can_run_as(&self, package: &str) -> Result<bool> {
        tier::run_as(&self.server, &self.adb.serial, package).map_err(|e| unanswered(&self.adb.serial, &e))
    }
}

fn absent(what: &str) -> Error {
    Error::new(Kind::Device, what)
        .hint("attach it and allow USB debugging on it; `shopmend devices` lists them")
}

fn unanswered(name: &str, e: &io::Error) -> Error {
    Error::new(Kind::Device, format!("the device {} does not answer", printable(name)))
        .because(e.to_string())
        .hint("unlock it, check the cable, and try again")
}

/// What the report says of a device.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceReport {
    /// What adb calls it.
    pub adb_serial: String,
    #[serde(flatten)]
    pub facts: Facts,
    pub tier: Tier,
    /// What this tier could look at.
    pub checked: Vec<String>,
    /// What it could not, and what would.
    pub not_checked: Vec<String>,
    /// What a person can do on the phone instead.
    pub by_hand: Vec<String>,
    /// By package.
    pub apps: BTreeMap<String, AppFacts>,
}

/// A device as a place.
#[derive(Debug)]
pub struct DevicePlace {
    device: Device,
    tier: Tier,
    files: Arc<Files>,
    mounted: Mounted,
    scopes: Vec<Scope>,
    apps: BTreeMap<String, AppFacts>,
    report: DeviceReport,
    partial: bool,
    heads: PathBuf,
}

impl DevicePlace {
    /// Makes a device a place: finds out what is in reach for the apps in
    /// `packages`. Contents are kept in `state` while they are looked at.
    ///
    /// # Errors
    /// As [`Device::reach`]; `Io` when there is no room here.
    pub fn open<'a>(
        device: Device,
        root: bool,
        packages: impl Iterator<Item = &'a str>,
        state: &Path,
    ) -> Result<Self> {
        let apps = device.apps(packages)?;
        let (mut tier, as_root) = device.reach(root)?;
        let is_root = tier == Tier::Root;
        let shared = device
            .facts
            .shared
            .clone()
            .filter(|s| super::listing::is_plain_below(Path::new(s), Path::new("/")) && s.len() > 1);
        let mut reach = Vec::new();
        let mut scope = Scope::new(Platform::Android, Path::new(&format!("adb:{}", device.facts.serial)));
        scope.user = Some("0".to_owned());
        scope.updates = apps.iter().filter_map(|(id, a)| Some((id.clone(), a.updated_ns?))).collect();
        let mut folders: Vec<(&'static str, PathBuf, Option<String>)> = Vec::new();
        let mut debuggable = Vec::new();
        if is_root {
            reach.push((PathBuf::from("/"), as_root));
            folders.push(("DATA", "/data/data".into(), None));
            folders.push(("DATA_DE", "/data/user_de/0".into(), None));
        } else {
            reach.push((PathBuf::from("/data/data"), Reach::Plain));
            for package in apps.iter().filter(|(_, a)| a.debuggable).map(|(p, _)| p) {
                if device.can_run_as(package)? {
                    tier = Tier::RunAs;
                    reach.push((Path::new("/data/data").join(package), Reach::RunAs(package.clone())));
                    folders.push(("DATA", "/data/data".into(), Some(package.clone())));
                    debuggable.push(package.clone());
                }
            }
        }
        let mut external = None;
        if let Some(shared) = shared {
            // What the shell reaches through the storage's own layer, root sees beneath it.
            let shared = if is_root { "/data/media/0/Android/data".to_owned() } else { shared };
            if !is_root {
                reach.push((PathBuf::from(&shared), Reach::Plain));
            }
            external = Some(PathBuf::from(&shared));
            folders.push(("EXTERNAL", shared.into(), None));
        }
        let heads = state.join("heads");
        let mirror = Mirror::new(state).map_err(|e| Error::io("cannot make a private folder", state, e))?;
        let serial = device.adb.serial.clone();
        let files =
            Arc::new(Files::new(device.server.clone(), serial.clone(), reach, mirror, Heads::load(&heads)));
        let mounted = mount(&device.facts.serial, files.clone());
        for (name, path, only) in folders {
            let base = BaseFolder { only: only.map(Into::into), ..BaseFolder::found(mounted.path(&path)) };
            scope.base(name, base);
        }
        let shell = tier != Tier::Root;
        let access = external.as_deref().filter(|_| shell).map(|e| shared_access(&device, e)).transpose()?;
        let report = report(&device, tier, &apps, &debuggable, access.as_ref());
        let partial = tier != Tier::Root && apps.keys().any(|p| !debuggable.contains(p));
        let place = Self { device, tier, files, mounted, scopes: vec![scope], apps, report, partial, heads };
        place.look_at_tops()?;
        Ok(place)
    }

    /// One look at each base folder instead of one for each app.
    fn look_at_tops(&self) -> Result<()> {
        let tops: BTreeSet<&PathBuf> = self
            .scopes
            .iter()
            .flat_map(|s| s.bases.values().flatten())
            .filter(|b| b.only.is_none())
            .map(|b| &b.path)
            .collect();
        for top in tops {
            if let Some((_, on)) = crate::fsys::split_remote(top) {
                match self.files.preload_names(&on) {
                    Ok(()) => {}
                    Err(_) if self.files.lost().is_none() => {}
                    Err(e) => return Err(unanswered(&self.device.adb.serial, &e)),
                }
            }
        }
        Ok(())
    }

    /// Lists what the targets hold, and brings here what a check will need of
    /// it: everything but caches, unless `deep` wants those too.
    ///
    /// # Errors
    /// Kind `Device` when the device does not answer or what it lists cannot
    /// be believed.
    pub fn load(&self, targets: &[Target], deep: bool) -> Result<()> {
        let fail = |e: io::Error| {
            Error::new(Kind::Device, format!("the files on {} cannot be looked at", self.device.adb.serial))
                .because(e.to_string())
                .hint("check the cable and try again")
        };
        self.files.begin();
        let mut wanted = Vec::new();
        for root in targets.iter().flat_map(|t| &t.roots) {
            let Some((_, on)) = crate::fsys::split_remote(&root.path) else { continue };
            self.files.preload(&on).map_err(fail)?;
            for (path, meta) in self.files.loaded(&on) {
                let Some(rel) = path.strip_prefix(&on).ok().and_then(|r| RelPath::new(r).ok()) else {
                    continue;
                };
                if meta.kind != crate::fsys::Kind::File {
                    continue;
                }
                let cache = root.rules.find(&rel, false).is_some_and(|f| f.rule.class == Class::Cache);
                if deep || !cache {
                    wanted.push((path, meta));
                }
            }
        }
        let unknown = self.files.unknown(wanted);
        self.files.fetch(&unknown).map_err(fail)
    }

    /// After a scan: remembers what an unchanged file need not be read for, and
    /// whether the device was there all the time.
    ///
    /// # Errors
    /// Kind `Device` when it was lost meanwhile.
    pub fn done(&self) -> Result<()> {
        if let Some(why) = self.files.lost() {
            return Err(Error::new(Kind::Device, format!("the device {} was lost", self.device.adb.serial))
                .because(why)
                .hint("attach it again and run the same command: it goes on where it was"));
        }
        // Without it the next scan reads a little more.
        let _ = self.files.save_heads(&self.heads);
        Ok(())
    }

    /// Why the device is not asked any more, once it was lost.
    #[must_use]
    pub fn lost(&self) -> Option<String> {
        self.files.lost()
    }

    /// Its name among records: the hardware's serial number.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.device.facts.serial
    }

    /// What is in reach on it.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// What the report says of it.
    #[must_use]
    pub fn report(&self) -> &DeviceReport {
        &self.report
    }

    /// Those of the asked-for apps that are installed.
    pub fn installed(&self) -> impl Iterator<Item = &str> {
        self.apps.keys().map(String::as_str)
    }

    /// The processes of an app.
    ///
    /// # Errors
    /// Kind `Device` when the device does not show them.
    pub fn running(&self, package: &str) -> Result<Vec<(u32, String)>> {
        self.files.running(package).map_err(|e| unanswered(&self.device.adb.serial, &e))
    }

    /// Stops an app, and waits until nothing of it runs any more.
    ///
    /// # Errors
    /// Kind `AppRunning` when something of it still does, `Device` when the
    /// device does not answer.
    pub fn stop(&self, package: &str) -> Result<()> {
        let command = [b"am force-stop --user 0 ".as_slice(), &super::quoted(package.as_bytes())].concat();
        let fail = |e: io::Error| unanswered(&self.device.adb.serial, &e);
        let as_whom = self.files.shell_reach();
        let said = output(&self.device.server, &self.device.adb.serial, &as_whom, &command, b"", QUESTION);
        let ran = said.map_err(fail)?.ran;
        let end = std::time::Instant::now() + GONE;
        loop {
            let left = self.running(package)?;
            let Some((pid, name)) = left.first() else { return Ok(()) };
            if std::time::Instant::now() >= end {
                let why = if ran.code == 0 { String::new() } else { format!(": {}", ran.complaint()) };
                return Err(Error::new(
                    Kind::AppRunning,
                    format!("{name} (process {pid}) still runs on the device{why}; nothing was changed"),
                )
                .hint("close it on the phone and try again"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Makes sure that nothing of an app runs: stops what does.
    ///
    /// # Errors
    /// As [`DevicePlace::stop`].
    pub fn ensure_down(&self, package: &str) -> Result<()> {
        if self.running(package)?.is_empty() { Ok(()) } else { self.stop(package) }
    }

    /// Whether there are apps whose private data is out of reach.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.partial
    }

    /// Where a path of the device is reached from here.
    #[must_use]
    pub fn path(&self, on_device: &Path) -> PathBuf {
        self.mounted.path(on_device)
    }
}

impl Place for DevicePlace {
    fn live(&self) -> bool {
        true
    }

    fn name(&self) -> String {
        let facts = &self.device.facts;
        format!("{} {} (Android {}, {} access)", facts.model, facts.serial, facts.release, self.tier.as_str())
    }

    fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    fn notes(&self) -> &[Note] {
        &[]
    }
}

/// What the shell may do in the apps' folder of the shared storage; each is
/// asked for by itself, since devices differ in all three.
#[derive(Debug, Default)]
struct Shared {
    list: bool,
    read: bool,
    write: bool,
}

fn shared_access(device: &Device, folder: &Path) -> Result<Shared> {
    let script = "d=$1; ls \"$d\" >/dev/null 2>&1 && echo list; for p in \"$d\"/*/cache; do \
        [ -d \"$p\" ] || continue; [ -r \"$p\" ] && [ -x \"$p\" ] && echo read; [ -w \"$p\" ] && echo write; break; done; exit 0";
    let command = [
        b"sh -c ".as_slice(),
        &super::quoted(script.as_bytes()),
        b" sh ",
        &super::quoted(folder.as_os_str().as_encoded_bytes()),
    ]
    .concat();
    let said = output(&device.server, &device.adb.serial, &Reach::Plain, &command, b"", QUESTION)
        .map_err(|e| unanswered(&device.adb.serial, &e))?;
    let has = |word: &[u8]| said.stdout.split(|&b| b == b'\n').any(|l| l == word);
    Ok(Shared { list: has(b"list"), read: has(b"read"), write: has(b"write") })
}

fn report(
    device: &Device,
    tier: Tier,
    apps: &BTreeMap<String, AppFacts>,
    debuggable: &[String],
    shared: Option<&Shared>,
) -> DeviceReport {
    let (mut checked, mut not_checked, mut by_hand) = (Vec::new(), Vec::new(), Vec::new());
    if tier == Tier::Root {
        checked.push("private data and shared storage of every known app, user 0".to_owned());
    } else {
        let closed: Vec<&str> = apps.keys().filter(|p| !debuggable.contains(p)).map(String::as_str).collect();
        for package in debuggable {
            checked.push(format!("private data of {package}, which lets itself be debugged"));
        }
        match shared {
            Some(s) if s.list && s.read => {
                let write = if s.write { "may be cleared" } else { "may only be read" };
                checked.push(format!("the apps' folders in the shared storage ({write})"));
            }
            _ => not_checked.push("the shared storage: this device does not let adb look into it".to_owned()),
        }
        if !closed.is_empty() {
            not_checked.push(format!(
                "databases, messages, drafts, preferences and private caches of {}: only root reaches them \
                 (--root on a rooted device)",
                closed.join(", ")
            ));
            by_hand.push(
                "in TikTok: Profile > menu > Settings and privacy > Free up space > Clear (cache)".to_owned(),
            );
            by_hand.push(
                "in Android: Settings > Apps > the app > Storage > Clear cache; never \"Clear data\", which deletes \
                 drafts and logs out"
                    .to_owned(),
            );
        }
    }
    for user in &device.facts.other_users {
        not_checked.push(format!("user {user}: only the first user is looked at"));
    }
    if device.adb.serial.contains(':') {
        by_hand
            .push("the device is connected over the network: use a cable where others share it".to_owned());
    }
    DeviceReport {
        adb_serial: device.adb.serial.clone(),
        facts: device.facts.clone(),
        tier,
        checked,
        not_checked,
        by_hand,
        apps: apps.clone(),
    }
}
