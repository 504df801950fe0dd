//! `scan`, `repair` and the plain call: one inspection, then what was asked.

use std::path::{Path, PathBuf};

use super::{Session, apps, devices};
use crate::cli;
use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::fsys::{Dir, RelPath};
use crate::guard::Guard;
use crate::keep::Keep;
use crate::model::{Class, Platform, Severity, StoreKind};
use crate::place::adb::{self, DevicePlace, DeviceReport};
use crate::place::{self, Filter, Place, locate};
use crate::plan::{self, Choice, Plan, Skipped};
use crate::process::Running;
use crate::repair;
use crate::report::{self, Document, Phase};
use crate::scan::{Baseline, Options, Scan, Volume};
use crate::store::{self, Level, RebuildRequest, registry};
use crate::vault::{self, LockedState, RunId, StateDir};

/// A scan and where it was made.
pub(super) struct Inspection {
    pub(super) scan: Scan,
    pub(super) platform: Platform,
    /// Whether the files belong to this machine's running system.
    pub(super) live: bool,
    /// `this machine`, or the image's folder.
    pub(super) label: String,
    pub(super) image: Option<PathBuf>,
    pub(super) homes: Vec<PathBuf>,
    /// What is known of the device, when it was one.
    device: Option<DeviceReport>,
}

impl Inspection {
    fn exit(&self) -> Exit {
        if self.scan.has_findings() { Exit::Findings } else { Exit::Ok }
    }

    /// An error when one of these ids is no store's.
    fn has_all(&self, ids: &[String]) -> Result<()> {
        match ids.iter().find(|id| !self.scan.stores().any(|(_, s)| s.id == **id)) {
            Some(unknown) => Err(Error::new(Kind::Usage, format!("no store has the id {unknown:?}"))
                .hint("`shopmend scan -v` shows the ids")),
            None => Ok(()),
        }
    }

    fn document(&self, command: Phase, exit: Exit) -> Document {
        let mut out =
            Document::new(&self.scan, command, self.platform, &self.label, self.image.as_deref(), exit);
        out.device.clone_from(&self.device);
        out
    }
}

fn inspect(
    session: &Session,
    wanted: &cli::Where,
    device: Option<&DevicePlace>,
    options: &Options,
    baseline: Option<&mut Baseline>,
) -> Result<Inspection> {
    let opened;
    let place: &dyn Place = if let Some(device) = device {
        device
    } else {
        opened = place::open(wanted.image.as_deref(), wanted.platform)?;
        opened.as_ref()
    };
    let platforms = place.scopes().iter().map(|s| s.platform).collect();
    let profiles = session.profiles(wanted.profiles.as_deref(), platforms)?;
    if let Some(device) = device {
        session.control.progress().stage(devices::LISTING, 0);
        device.begin()?;
    }
    let located = locate(&profiles, place, &Filter { apps: wanted.apps.clone() })?;
    if let Some(device) = device {
        session.control.progress().stage("Fetching", 0);
        device.load(&located.targets, options.level == Level::Deep)?;
    }
    // Processes of this machine have nothing of another device open.
    let here = place.live() && device.is_none();
    let mut scan = crate::scan::scan(located.targets, here, options, baseline, &session.control)?;
    session.quiet_bars();
    if let Some(device) = device {
        on_device(device, &mut scan)?;
    }
    scan.notes.extend(located.notes.iter().map(ToString::to_string));
    let scopes = place.scopes();
    Ok(Inspection {
        scan,
        platform: scopes.first().map_or_else(Platform::host, |s| s.platform),
        live: place.live(),
        label: place.name(),
        image: wanted.image.clone(),
        device: device.map(|d| d.report().clone()),
        homes: scopes.iter().filter_map(|s| s.bases.get("HOME")).flatten().map(|b| b.path.clone()).collect(),
    })
}

/// What only the device knows: what runs on it, and what was out of reach.
fn on_device(device: &DevicePlace, scan: &mut Scan) -> Result<()> {
    let processes = device.processes()?;
    for scanned in &mut scan.targets {
        let running = adb::processes(&processes, &scanned.target.app.id);
        scanned.running = running.into_iter().map(|(pid, name)| Running { pid, name, holds: None }).collect();
        if let Some(app) = device.report().apps.get(&scanned.target.app.id) {
            scanned.notes.extend(app.sentence());
        }
    }
    device.done()?;
    scan.volumes.extend(device.room().map(|(path, space)| Volume::of(path, &space)));
    scan.notes.extend(device.hints());
    let report = device.report();
    scan.notes.extend(report.not_checked.iter().map(|what| format!("not checked: {what}")));
    scan.notes.extend(report.by_hand.iter().map(|what| format!("by hand: {what}")));
    Ok(())
}

fn options(session: &Session, depth: cli::Depth, older_than: Option<cli::Age>) -> Options {
    Options {
        level: if depth.deep { Level::Deep } else { Level::Fast },
        rehash: depth.rehash,
        recall_hashes: true,
        older_than_ns: older_than.or(session.config.older_than).map(|age| age.0),
        now_ns: Session::now_ns(),
    }
}

/// The baseline, or a remark why the scan goes without.
fn baseline(session: &Session, state: Option<&Path>) -> (Option<Baseline>, Option<String>) {
    let opened = match state {
        Some(state) => Baseline::open(state),
        None => session.state().and_then(|state| Baseline::open(state.path())),
    };
    match opened {
        Ok(baseline) => (Some(baseline), None),
        Err(e) => (None, Some(format!("the scan works without a memory of earlier ones: {e}"))),
    }
}

pub(super) fn scan(
    session: &Session,
    wanted: &cli::Where,
    depth: cli::Depth,
    report: &cli::Report,
    accept: &[String],
) -> Result<Exit> {
    let device = devices::open(session, &wanted.device, wanted.profiles.as_deref(), true)?;
    let (device, state) = device.unzip();
    let (mut memory, remark) = baseline(session, state.as_deref());
    let options = Options { recall_hashes: false, ..options(session, depth, None) };
    if let Some(memory) = &mut memory {
        memory.accept(accept.iter().cloned());
    }
    let mut found = inspect(session, wanted, device.as_ref(), &options, memory.as_mut())?;
    found.scan.notes.extend(remark);
    let state = match &state {
        Some(state) => StateDir::open(state),
        None => session.state(),
    };
    if let Err(e) = state.and_then(|state| repair::name_healthy_copies(&mut found.scan, &state)) {
        found.scan.notes.push(format!("the vault could not be asked for copies: {e}"));
    }
    let nothing = memory.iter().flat_map(Baseline::not_accepted).collect::<Vec<_>>();
    if let Some(unknown) = nothing.iter().find(|id| !found.scan.stores().any(|(_, s)| s.id == **id)) {
        return Err(Error::new(Kind::Usage, format!("no store has the id {unknown:?}"))
            .hint("`shopmend scan -v` shows the ids"));
    }
    let nothing = nothing.iter().map(|id| format!("store {id}: there was nothing to accept"));
    found.scan.notes.extend(nothing);
    let exit = found.exit();
    let document = found.document(Phase::Scan, exit);
    report::log(&document);
    output(session, &document, report)?;
    // The program ends here: the system takes the memory back at once, which
    // takes much longer path by path.
    std::mem::forget(found);
    Ok(exit)
}

/// Writes the report where and how it was asked for.
fn output(session: &Session, document: &Document, wanted: &cli::Report) -> Result<()> {
    let style = session.console.style;
    let made = match wanted.format {
        cli::Format::Text => {
            let plain = report::Style { color: style.color && wanted.report.is_none(), ..style };
            report::text(document, plain)
        }
        cli::Format::Json => report::json(document).map_err(|e| unmade(&e))?,
        cli::Format::Html => report::html(document).map_err(|e| unmade(&e))?,
    };
    let Some(path) = &wanted.report else { return session.console.print(&made) };
    std::fs::write(path, made).map_err(|e| {
        Error::io("the report cannot be written", path, e).hint("give a path in a folder that exists")
    })?;
    session.console.print(&report::text(document, style))?;
    session.console.say(&format!("Report written to {}", crate::fsys::shown(path)))
}

fn unmade(e: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Io, "the report could not be made").because(e.to_string())
}

/// What `shopmend repair` does.
pub(super) fn repair(session: &Session, wanted: &cli::Repair) -> Result<Exit> {
    let (state, device) = ready(session, &wanted.place)?;
    let mut job = Job::new(session, &state, wanted.place.clone())?;
    job.device = device.as_ref();
    job.options = options(session, wanted.depth, wanted.older_than);
    job.choice.only = wanted.only;
    job.choice.stores.clone_from(&wanted.stores);
    job.choice.keep = Keep::new(session.config.keep.iter().chain(&wanted.keep).cloned())?;
    job.how = How {
        ask: !wanted.yes,
        dry_run: wanted.dry_run,
        reclaim: wanted.reclaim,
        stop_app: wanted.stop_app,
        allow_root: wanted.allow_root,
    };
    job.report = Some(wanted.report.clone());
    if let Some(run) = &wanted.from_vault {
        job.choice.put_back = saved_copies(&state, run, &wanted.stores)?;
    }
    let found = job.scan()?;
    found.has_all(&wanted.stores)?;
    let (exit, _) = job.repair(&found)?;
    Ok(exit)
}

/// What a run holds of these stores.
fn saved_copies(state: &StateDir, run: &str, stores: &[String]) -> Result<Vec<plan::SavedCopy>> {
    let id: RunId = run.parse().map_err(|_| {
        Error::new(Kind::Usage, format!("{run:?} is no run")).hint("`shopmend vault list` shows the runs")
    })?;
    let one = |store: &String| {
        let copy = vault::copy_of(state, &id, store)?.ok_or_else(|| {
            Error::new(Kind::Usage, format!("run {id} holds no copy of the store {store}"))
                .hint("`shopmend vault list` shows what each run holds")
        })?;
        Ok(plan::SavedCopy {
            store: copy.store,
            run: copy.run.to_string(),
            unit: copy.unit,
            copied_ns: copy.copied_ns,
            condition: copy.condition,
            files: copy.files,
        })
    };
    stores.iter().map(one).collect()
}

/// What `shopmend backup` does.
pub(super) fn backup(session: &Session, wanted: &cli::Backup) -> Result<Exit> {
    let (state, device) = ready(session, &wanted.place)?;
    let mut job = Job::new(session, &state, wanted.place.clone())?;
    job.device = device.as_ref();
    let found = job.scan()?;
    found.has_all(&wanted.stores)?;
    let mut stores = Vec::new();
    for (scanned, store) in found.scan.stores() {
        let named = wanted.stores.contains(&store.id);
        let by_kind = wanted.stores.is_empty() && (wanted.caches || store.class != Class::Cache);
        if store.files.is_empty() || !(named || by_kind) {
            continue;
        }
        stores.push(repair::BackupStore {
            store: store.id.clone(),
            target: scanned.target.id.clone(),
            app: scanned.target.app.id.clone(),
            rule: store.rule.as_ref().map(|r| r.id.clone()).unwrap_or_default(),
            kind: store.kind,
            class: store.class,
            root: scanned.target.roots[store.root].path.clone(),
            path: store.path.clone(),
            members: store.files.iter().map(plan::item).collect(),
            condition: Some(store.condition()),
        });
    }
    if stores.is_empty() {
        session.console.say("There is nothing to back up.")?;
        return Ok(Exit::Ok);
    }
    let affected = |target: &str| stores.iter().any(|s| s.target == target);
    apps::end(session, &found.scan, found.live, job.device, &affected, wanted.stop_app)?;
    let options =
        repair::BackupOptions { platform: found.platform, live: found.live, allow_root: wanted.allow_root };
    let outcome = repair::backup(&stores, &state, &options, &apps::down(job.device), &session.control)?;
    session.said(&outcome, job.device)
}

/// The locked records of the place, in order, and the device if it is one.
fn ready(session: &Session, wanted: &cli::Where) -> Result<(LockedState, Option<DevicePlace>)> {
    let device = devices::open(session, &wanted.device, wanted.profiles.as_deref(), true)?;
    let Some((device, state)) = device else { return Ok((session.locked_state()?, None)) };
    let state = session.in_order(StateDir::open(&state)?, &apps::down(Some(&device)))?;
    Ok((state, Some(device)))
}

/// `shopmend` alone: scan, and on a terminal offer the repair.
pub(super) fn offer(session: &Session) -> Result<Exit> {
    let everywhere = cli::Where::default();
    if !session.console.interactive {
        let report = cli::Report { format: cli::Format::Text, report: None };
        return scan(session, &everywhere, cli::Depth::default(), &report, &[]);
    }
    let state = session.locked_state()?;
    let mut job = Job::new(session, &state, everywhere)?;
    job.how.ask = true;
    let found = job.scan()?;
    session.console.print(&job.scan_text(&found))?;
    if found.exit() == Exit::Ok {
        return Ok(Exit::Ok);
    }
    session.console.print("\n")?;
    let (exit, _) = job.repair(&found)?;
    Ok(exit)
}

/// How a repair is to be done.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct How {
    ask: bool,
    dry_run: bool,
    reclaim: bool,
    stop_app: bool,
    allow_root: bool,
}

/// One place, looked at and repaired under one lock.
pub(super) struct Job<'a> {
    session: &'a Session,
    state: &'a LockedState,
    memory: Baseline,
    wanted: cli::Where,
    device: Option<&'a DevicePlace>,
    options: Options,
    choice: Choice,
    how: How,
    /// Where the report goes; `None` when only the terminal is used.
    report: Option<cli::Report>,
}

impl<'a> Job<'a> {
    /// A job with the configuration's wishes, to be done without asking.
    pub(super) fn new(session: &'a Session, state: &'a LockedState, wanted: cli::Where) -> Result<Self> {
        Ok(Self {
            session,
            state,
            memory: Baseline::open(state.path())?,
            wanted,
            device: None,
            options: options(session, cli::Depth::default(), None),
            choice: Choice { keep: Keep::new(session.config.keep.iter().cloned())?, ..Choice::default() },
            how: How::default(),
            report: None,
        })
    }

    pub(super) fn scan(&mut self) -> Result<Inspection> {
        let mut found =
            inspect(self.session, &self.wanted, self.device, &self.options, Some(&mut self.memory))?;
        repair::name_healthy_copies(&mut found.scan, self.state)?;
        Ok(found)
    }

    /// The scan for the terminal.
    pub(super) fn scan_text(&self, found: &Inspection) -> String {
        report::text(&found.document(Phase::Scan, found.exit()), self.session.console.style)
    }

    /// Whether the terminal shows plan and outcome; else only a report in
    /// another format is printed there.
    fn talks(&self) -> bool {
        self.report.as_ref().is_none_or(|r| r.format == cli::Format::Text || r.report.is_some())
    }

    /// Plans, asks where wanted, and executes; the run's id when there was one.
    pub(super) fn repair(&self, found: &Inspection) -> Result<(Exit, Option<RunId>)> {
        let guard = Guard { own: vec![self.state.path().to_path_buf()], homes: found.homes.clone() };
        let (mut plan, skipped) = plan::make(&found.scan, found.platform, found.live, &self.choice, &guard);
        let console = self.session.console;
        if self.talks() {
            console.print(&preview(&plan, &skipped, console.style))?;
        }
        let partial = self.device.is_some_and(DevicePlace::is_partial);
        let shortcoming = partial || skipped.iter().any(|s| !s.by_choice);
        if self.how.dry_run {
            let exit = if plan.actions.is_empty() { Exit::Ok } else { Exit::Findings };
            self.finish(&found.document(Phase::Preview, exit).with_plan(&plan, &skipped))?;
            if self.talks() {
                console.say("Nothing was changed.")?;
            }
            return Ok((exit, None));
        }
        if plan.actions.is_empty() {
            let exit = if shortcoming { Exit::Left } else { Exit::Ok };
            self.finish(&found.document(Phase::Repair, exit).with_plan(&plan, &skipped))?;
            return Ok((exit, None));
        }
        if self.how.ask && !agreed(self.session, &mut plan)? {
            console.say("Nothing was changed.")?;
            return Ok((Exit::Findings, None));
        }
        let affected = |target: &str| plan.actions.iter().any(|a| a.target == target);
        apps::end(self.session, &found.scan, found.live, self.device, &affected, self.how.stop_app)?;
        let outcome = self.execute(found, &plan, &guard)?;
        self.session.quiet_bars();
        let mut exit = super::ended(outcome.exit(), self.device);
        if exit == Exit::Ok && shortcoming {
            exit = Exit::Left;
        }
        if self.talks() {
            console.print(&report::outcome(&outcome, self.device.map(DevicePlace::report), console.style))?;
        }
        let run = outcome.run.clone();
        let mut document = found.document(Phase::Repair, exit).with_plan(&plan, &skipped);
        document.repair = Some(outcome);
        self.finish(&document)?;
        Ok((exit, Some(run)))
    }

    fn execute(&self, found: &Inspection, plan: &Plan, guard: &Guard) -> Result<repair::Outcome> {
        let target_of = |id: &str| found.scan.targets.iter().find(|t| t.target.id == id).map(|t| &t.target);
        let allows = |action: &plan::Action, item: &plan::Item| {
            let target = target_of(&action.target).ok_or_else(|| "its app is gone".to_owned())?;
            // A folder that goes as a whole: each file in it is asked for as well.
            if item.dir {
                return guard.clearable(&action.root, &action.path, &item.path);
            }
            guard.item(target, action, &item.path)
        };
        let rebuild = |action: &plan::Action, request: &RebuildRequest<'_>| {
            let known = self.memory.facts(&action.target, &action.store);
            registry::rebuild(action.kind, &RebuildRequest { known: known.as_ref(), ..*request })
        };
        let verify = |kind: StoreKind, path: &Path| verified(kind, path, &self.session.control);
        let running = apps::down(self.device);
        let hooks = repair::Hooks { rebuild: &rebuild, verify: &verify, guard: &allows, running: &running };
        let options = repair::ExecuteOptions { reclaim: self.how.reclaim, allow_root: self.how.allow_root };
        repair::execute(plan, self.state, &options, &hooks, &self.session.control)
    }

    /// Writes the report file, or the report in another format.
    fn finish(&self, document: &Document) -> Result<()> {
        report::log(document);
        match &self.report {
            Some(wanted) if wanted.format != cli::Format::Text || wanted.report.is_some() => {
                output(self.session, document, wanted)
            }
            _ => Ok(()),
        }
    }
}

fn preview(plan: &Plan, skipped: &[Skipped], style: report::Style) -> String {
    let mut out = String::new();
    if plan.actions.is_empty() {
        out.push_str("Nothing is to be done.\n");
    } else {
        let bytes: u64 = plan.actions.iter().map(plan::Action::bytes).sum();
        let actions = report::count(plan.actions.len() as u64, "action");
        out.push_str(&format!(
            "{} ({actions}, {}, id {})\n",
            style.bold("Plan"),
            report::size(bytes),
            &plan.hash()[..12]
        ));
        out.push_str(&report::plan(&plan.actions, style));
    }
    for skip in skipped {
        out.push_str(&format!("  - {}: {}\n", crate::fsys::printable(&skip.path), skip.reason));
    }
    out
}

/// Asks; numbers untick single actions before asking again.
fn agreed(session: &Session, plan: &mut Plan) -> Result<bool> {
    if !session.console.interactive {
        return Err(Error::new(Kind::Usage, "there is no terminal to ask on")
            .hint("add --yes to do the plan, or --dry-run to see it"));
    }
    loop {
        let question = "Do this? Everything is backed up first. [y]es, [n]o, or numbers to leave out: ";
        let answer = session.console.ask(question)?;
        session.control.safe_point()?;
        let Some(answer) = answer else { return Ok(false) };
        let answer = answer.to_lowercase();
        match answer.as_str() {
            "y" | "yes" => return Ok(true),
            "" | "n" | "no" => return Ok(false),
            _ => {}
        }
        let numbers: Option<Vec<usize>> =
            answer.split([' ', ',']).filter(|w| !w.is_empty()).map(|w| w.parse().ok()).collect();
        match numbers {
            Some(numbers) if numbers.iter().all(|n| (1..=plan.actions.len()).contains(n)) => {
                let mut at = 0;
                plan.actions.retain(|_| {
                    at += 1;
                    !numbers.contains(&at)
                });
                if plan.actions.is_empty() {
                    return Ok(false);
                }
                session.console.print(&preview(plan, &[], session.console.style))?;
            }
            _ => session.console.print("Please answer y, n, or numbers from the plan.\n")?,
        }
    }
}

/// A new store, still private, must be sound by its own full check.
fn verified(kind: StoreKind, path: &Path, control: &Control) -> std::result::Result<(), String> {
    let look = |path: &Path| -> std::result::Result<store::Check, String> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err("it has no folder".to_owned());
        };
        let dir = Dir::open(parent).map_err(|e| e.to_string())?;
        let name = RelPath::new(name).map_err(|e| e.to_string())?;
        registry::check(kind, store::Subject { dir: &dir, path: &name }, Level::Deep, control)
            .map_err(|e| e.to_string())
    };
    let check = look(path)?;
    match check.findings.iter().find(|f| f.severity == Severity::Error) {
        Some(finding) => Err(finding.message.clone()),
        None => Ok(()),
    }
}
