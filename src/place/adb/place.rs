//! The files of an Android device as a place.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::device::{Device, unanswered};
use super::files::Files;
use super::mirror::Mirror;
use super::questions::Wanted;
use super::report::DeviceReport;
use super::server::Server;
use super::tier::{Reach, Tier, output};
use crate::control::Control;
use crate::error::{self, Error, Result};
use crate::fsys::{Disk, Kind, split_remote};
use crate::model::{Class, Platform};
use crate::place::{Affected, BaseFolder, Context, Note, Place, PlaceReport, Scope, Target};
use crate::process::Running;

/// How long stopping an app may take.
const QUESTION: Duration = Duration::from_secs(90);
/// How long an app may take to be gone after it was stopped.
const GONE: Duration = Duration::from_secs(10);

/// A device as a place.
#[derive(Debug)]
pub struct DevicePlace {
    device: Device,
    files: Arc<Files>,
    disk: Disk,
    scopes: Vec<Scope>,
    report: DeviceReport,
    /// Where an app's folders may be, on the device.
    candidates: Vec<PathBuf>,
    /// Whether they were listed when it was opened, and not looked at yet.
    listed: AtomicBool,
    /// What ran when the device was asked what it is.
    processes: Mutex<Option<Vec<u8>>>,
}

impl DevicePlace {
    /// Makes a device a place, as far as it is in reach. Contents are kept in
    /// `state` while they are looked at. What may belong to an app is listed
    /// when it is to be looked at, which [`Place::begin`] then need not.
    ///
    /// # Errors
    /// Kind `Refused` when root is wanted and there is none; `Io` when there
    /// is no room here; as [`Place::begin`].
    pub fn open(mut device: Device, state: &Path, look: bool) -> Result<Self> {
        let in_reach = InReach::of(&device)?;
        let candidates = in_reach.candidates(&device.wanted.packages);
        let mirror = Mirror::new(state).map_err(|e| Error::io("cannot make a private folder", state, e))?;
        let (server, serial) = (device.server.clone(), device.adb.serial.clone());
        let files = Arc::new(Files::new(server, serial, in_reach.reach, mirror, state));
        let (rest, listed) = std::thread::scope(|scope| {
            let rest = scope.spawn(|| device.ask_rest());
            let listed = if look { files.list_trees(&candidates) } else { Ok(()) };
            (rest.join(), listed)
        });
        listed.map_err(|e| unseen(&device, &e))?;
        let broken =
            || unanswered(&device.adb.serial, &io::Error::other("the question of what is on it failed"));
        let rest = rest.unwrap_or_else(|_| Err(broken()))?;
        device.learn(rest)?;
        let facts = device.facts();
        let mut scope = Scope::new(Platform::Android, Path::new(&format!("adb:{}", facts.serial)));
        scope.user = Some("0".to_owned());
        let updated = device.answers.apps.iter().filter_map(|(id, a)| Some((id.clone(), a.updated_ns?)));
        scope.updates = updated.collect();
        let disk = Disk::remote(&facts.serial, files.clone());
        scope.disk = disk.clone();
        // An app on adopted storage has nothing in the usual places.
        for (package, app) in device.answers.apps.iter().filter(|_| device.tier() == Tier::Root) {
            let Ok(Some(above)) = app.adopted(package) else { continue };
            let of = |names: &str| above.ancestors().nth(2).map(|volume| volume.join(names));
            let places = [
                ("DATA", Some(above.clone())),
                ("DATA_DE", of("user_de/0")),
                ("EXTERNAL", of("media/0/Android/data")),
            ];
            for (name, path) in places {
                let Some(path) = path else { continue };
                let base = BaseFolder { only: Some(package.into()), ..BaseFolder::found(disk.path(&path)) };
                scope.base(name, base);
            }
        }
        for (name, path, only) in in_reach.folders {
            let base = BaseFolder { only: only.map(Into::into), ..BaseFolder::found(disk.path(&path)) };
            scope.base(name, base);
        }
        let report = DeviceReport::of(&device);
        let processes = Mutex::new(Some(device.answers.processes.clone()));
        Ok(Self {
            files,
            disk,
            scopes: vec![scope],
            report,
            candidates,
            listed: AtomicBool::new(look),
            processes,
            device,
        })
    }

    /// Brings here what a check will need of the targets: everything but
    /// caches, unless `deep` wants those too.
    ///
    /// # Errors
    /// As [`Place::begin`].
    fn fetch(&self, targets: &[Target], deep: bool) -> Result<()> {
        let roots: Vec<_> = targets
            .iter()
            .flat_map(|t| &t.roots)
            .filter_map(|root| Some((root, split_remote(&root.path)?.1)))
            .collect();
        let missing: Vec<PathBuf> =
            roots.iter().filter(|(_, on)| !self.files.is_listed(on)).map(|(_, on)| on.clone()).collect();
        self.files.list_trees(&missing).map_err(|e| unseen(&self.device, &e))?;
        let mut wanted = Vec::new();
        for (root, on) in &roots {
            let mut above = vec![root.rules.top()];
            for (rel, meta) in self.files.loaded(on).map_err(|e| unseen(&self.device, &e))? {
                above.truncate(rel.depth());
                let (Some(name), Some(holder)) = (rel.file_name(), above.last()) else { continue };
                match meta.kind {
                    Kind::Dir => {
                        let folder = holder.folder(name);
                        above.push(folder);
                    }
                    Kind::File => {
                        let cache = holder.file(name).is_some_and(|f| f.rule.class == Class::Cache);
                        if deep || !cache {
                            wanted.push((on.join(rel.as_path()), meta));
                        }
                    }
                    Kind::Link | Kind::Other => {}
                }
            }
        }
        let unknown = self.files.unknown(wanted);
        crate::fsys::Remote::fetch(self.files.as_ref(), &unknown).map_err(|e| unseen(&self.device, &e))
    }

    /// The device itself.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Its name among records: the hardware's serial number.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.device.facts().serial
    }

    /// What is in reach on it.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.device.tier()
    }

    /// What runs on it, as `ps` prints it: the first time as it was when the
    /// device was asked what it is, since a scan only tells of it.
    ///
    /// # Errors
    /// Kind `Device` when the device does not show it.
    fn process_list(&self) -> Result<Vec<u8>> {
        let before = self.processes.lock().unwrap_or_else(PoisonError::into_inner).take();
        match before.filter(|text| super::facts::is_process_list(text)) {
            Some(text) => Ok(text),
            None => self.files.processes().map_err(|e| unanswered(&self.device.adb.serial, &e)),
        }
    }

    /// The processes of an app, now.
    ///
    /// # Errors
    /// Kind `Device` when the device does not show them.
    fn running(&self, package: &str) -> Result<Vec<(u32, String)>> {
        self.files.running(package).map_err(|e| unanswered(&self.device.adb.serial, &e))
    }

    /// Stops an app, and waits until nothing of it runs any more.
    ///
    /// # Errors
    /// Kind `AppRunning` when something of it still does, `Device` when the
    /// device does not answer.
    fn force_stop(&self, package: &str) -> Result<()> {
        let command =
            [b"am force-stop --user 0 ".as_slice(), &super::quote::quoted(package.as_bytes())].concat();
        let fail = |e: io::Error| unanswered(&self.device.adb.serial, &e);
        let as_whom = self.files.shell_reach();
        let said = output(&self.device.server, &self.device.adb.serial, &as_whom, &command, QUESTION);
        let ran = said.map_err(fail)?.ran;
        let end = Instant::now() + GONE;
        loop {
            let left = self.running(package)?;
            let Some((pid, name)) = left.first() else { return Ok(()) };
            if Instant::now() >= end {
                let why = if ran.code == 0 { String::new() } else { format!(": {}", ran.complaint()) };
                return Err(Error::new(
                    error::Kind::AppRunning,
                    format!("{name} (process {pid}) still runs on the device{why}; nothing was changed"),
                )
                .hint("close it on the phone and try again"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn unseen(device: &Device, e: &io::Error) -> Error {
    Error::new(error::Kind::Device, format!("the files on {} cannot be looked at", device.adb.serial))
        .because(e.to_string())
        .hint("check the cable and try again")
}

/// What is in reach of a device, and as whom.
struct InReach {
    reach: Vec<(PathBuf, Reach)>,
    /// Folders of apps' folders by their name in a profile; of only one app
    /// where one is named.
    folders: Vec<(&'static str, PathBuf, Option<String>)>,
}

impl InReach {
    fn of(device: &Device) -> Result<Self> {
        let root = device.root()?;
        let is_root = root.is_some();
        let is_plain =
            |s: &String| super::listing::is_plain_below(Path::new(s), Path::new("/")) && s.len() > 1;
        let (mut reach, mut folders) = (Vec::new(), Vec::new());
        if let Some(as_root) = root {
            reach.push((PathBuf::from("/"), as_root));
            folders.push(("DATA", "/data/data".into(), None));
            folders.push(("DATA_DE", "/data/user_de/0".into(), None));
        } else {
            reach.push((PathBuf::from("/data/data"), Reach::Plain));
            reach.push((PathBuf::from("/data/user_de/0"), Reach::Plain));
            for package in &device.answers.run_as {
                reach.push((Path::new("/data/data").join(package), Reach::RunAs(package.clone())));
                folders.push(("DATA", "/data/data".into(), Some(package.clone())));
                reach.push((Path::new("/data/user_de/0").join(package), Reach::RunAs(package.clone())));
                folders.push(("DATA_DE", "/data/user_de/0".into(), Some(package.clone())));
            }
        }
        if let Some(shared) = device.facts().shared.clone().filter(is_plain) {
            // What the shell reaches through the storage's own layer, root sees beneath it.
            let shared = if is_root { "/data/media/0/Android/data".to_owned() } else { shared };
            if !is_root {
                reach.push((PathBuf::from(&shared), Reach::Plain));
            }
            folders.push(("EXTERNAL", shared.into(), None));
        }
        Ok(Self { reach, folders })
    }

    /// Where the folders of these packages may be.
    fn candidates(&self, packages: &[String]) -> Vec<PathBuf> {
        let mut out = Vec::new();
        for (_, path, only) in &self.folders {
            match only {
                Some(package) => out.push(path.join(package)),
                None => out.extend(packages.iter().map(|p| path.join(p))),
            }
        }
        out
    }
}

impl Place for DevicePlace {
    fn live(&self) -> bool {
        true
    }

    fn name(&self) -> String {
        let facts = self.device.facts();
        format!(
            "{} {} (Android {}, {} access)",
            facts.model,
            facts.serial,
            facts.release,
            self.tier().as_str()
        )
    }

    fn options(&self) -> String {
        self.report.named()
    }

    fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    fn notes(&self) -> &[Note] {
        &[]
    }

    fn disk(&self) -> Disk {
        self.disk.clone()
    }

    fn records(&self, all: &Path) -> PathBuf {
        all.join(records_of(self.serial()))
    }

    /// Lists everything that may belong to an app, each way to reach it in one
    /// stream; the first time that was done when the place was opened to be
    /// looked at, unless something was changed since.
    fn begin(&self, control: &Control) -> Result<()> {
        control.progress().stage(LISTING, 0);
        if self.listed.swap(false, Ordering::SeqCst) && self.candidates.iter().all(|c| self.files.is_seen(c))
        {
            return Ok(());
        }
        self.files.begin();
        self.files.list_trees(&self.candidates).map_err(|e| unseen(&self.device, &e))
    }

    fn load(&self, targets: &[Target], caches: bool, control: &Control) -> Result<()> {
        control.progress().stage("Fetching", 0);
        self.fetch(targets, caches)
    }

    /// Also remembers what an unchanged file need not be read for.
    fn end(&self) -> Result<()> {
        if let Some(why) = self.files.lost() {
            return Err(Error::new(
                error::Kind::Device,
                format!("the device {} was lost", self.device.adb.serial),
            )
            .because(why)
            .hint("attach it again and run the same command: it goes on where it was"));
        }
        // Without it the next scan reads a little more.
        let _ = self.files.save();
        Ok(())
    }

    fn processes(&self, targets: &[Target]) -> Result<Vec<Vec<Running>>> {
        let all = self.process_list()?;
        let running = |target: &Target| {
            let of_app = super::processes(&all, &target.app.id).into_iter();
            of_app.map(|(pid, name)| Running { pid, name, holds: None }).collect()
        };
        Ok(targets.iter().map(running).collect())
    }

    /// Stops what runs of the app: one that opens a damaged database deletes
    /// it, so it goes first, on a phone without a question.
    fn in_use(&self, store: &Affected<'_>) -> Result<()> {
        if self.running(store.app)?.is_empty() {
            return Ok(());
        }
        self.force_stop(store.app)?;
        if store.moved.is_empty() {
            return Ok(());
        }
        // What it wrote to the old files since would be lost with them.
        Err(Error::new(error::Kind::AppRunning, "the app was started while its files were being replaced")
            .hint("leave the phone alone until the repair has ended, and repair again"))
    }

    fn stop(&self, target: &Target, _ask: bool, _say: &dyn Fn(&str)) -> Result<()> {
        self.force_stop(&target.app.id)
    }

    fn report(&self) -> PlaceReport {
        let report = &self.report;
        let apps = report.apps.iter().filter_map(|(id, app)| Some((id.clone(), vec![app.sentence()?])));
        PlaceReport {
            device: Some(report.clone()),
            not_checked: report.not_checked.clone(),
            by_hand: report.by_hand.clone(),
            notes: self.device.hints(),
            app_notes: apps.collect(),
            room: self.device.answers.room.map(|space| (PathBuf::from("/data"), space)),
            ..PlaceReport::default()
        }
    }

    fn lost(&self) -> Option<String> {
        self.files.lost()
    }

    fn phone(&self) -> Option<&Self> {
        Some(self)
    }
}

/// The folder, in that for all records, that keeps those of one device.
#[must_use]
pub fn records_of(serial: &str) -> PathBuf {
    Path::new("devices").join(serial)
}

/// The records of a device, in the folder `all` for all records: by the
/// hardware's serial number, or while it is attached by adb's name for it.
///
/// # Errors
/// Kind `Usage` when nothing is recorded of it.
pub fn known_records(all: &Path, serial: &str) -> Result<PathBuf> {
    let known: Vec<String> = match std::fs::read_dir(all.join("devices")) {
        Ok(entries) => entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect(),
        Err(_) => Vec::new(),
    };
    if known.iter().any(|k| k == serial) {
        return Ok(records_of(serial));
    }
    let attached = || {
        let server = Server::from_env(&|name| std::env::var(name).ok()).ok()?;
        let adb = server.devices().ok()?.into_iter().find(|a| a.serial == serial)?;
        Device::identify(&server, &adb).ok().map(|facts| facts.serial)
    };
    match attached().filter(|number| known.contains(number)) {
        Some(number) => Ok(records_of(&number)),
        None => Err(Error::new(
            error::Kind::Usage,
            format!("nothing is recorded of the device {}", crate::fsys::printable(serial)),
        )
        .hint(if known.is_empty() {
            "no device was repaired or backed up with this state folder".to_owned()
        } else {
            format!("recorded are: {}", known.join(", "))
        })),
    }
}

/// The device that the command line names, as a place. Its files are listed
/// already when they are to be looked at.
///
/// # Errors
/// Kind `Device` when there is no such device, or none that is ready.
pub fn open(serial: &str, root: bool, context: &Context<'_>) -> Result<DevicePlace> {
    let named = Some(serial.to_owned()).filter(|s| !s.is_empty());
    let named = named.or_else(|| std::env::var("ANDROID_SERIAL").ok().filter(|s| !s.is_empty()));
    let profiles = (context.profiles)(vec![Platform::Android])?;
    let server = Server::from_env(&|name| std::env::var(name).ok())?;
    let device = Device::find(&server, named.as_deref(), &Wanted::of(&profiles, root))?;
    let records = (context.records)(&records_of(&device.facts().serial))?;
    if context.look {
        context.control.progress().stage(LISTING, 0);
    }
    DevicePlace::open(device, &records, context.look)
}

/// What the user is told while a device lists its files.
const LISTING: &str = "Listing";
