//! `triage`: is it this device, and what is it? Looks, and changes nothing.

use super::{Session, open, output, phone, scan};
use crate::cli::{self, Depth};
use crate::engine::Inspection;
use crate::error::Result;
use crate::exit::Exit;
use crate::model::Platform;
use crate::place::Place;
use crate::report::TriageDocument;
use crate::scan::Options;
use crate::triage::machine::Machine;
use crate::triage::online::{self, Plan};
use crate::triage::{self, Change, Evidence, Kind, Last, Stores, Triage};
use crate::vault::StateDir;

pub(super) fn triage(session: &Session, wanted: &cli::Triage) -> Result<Exit> {
    let place = open::place(session, &wanted.place, true)?;
    let evidence = gather(session, wanted, place.as_ref())?;
    session.quiet_bars();
    let outcome = triage::judge(&evidence);
    let document =
        TriageDocument::new(&evidence, &outcome).since(since(session, place.as_ref(), &evidence, &outcome));
    if wanted.summary {
        session.console.print(&format!("{}\n", document.summary()))?;
    } else {
        output::triage(session, &document, &wanted.report)?;
    }
    if wanted.open {
        show_page(session, place.as_ref(), &evidence, &outcome)?;
    }
    Ok(outcome.exit())
}

/// What is seen of a computer or an image without a scan and a packet.
fn beside_the_stores(place: &dyn Place, region: Option<&str>) -> Evidence {
    let scope = place.scopes().first();
    let kind = match (place.phone(), place.live()) {
        (Some(_), _) => Kind::Phone,
        (None, true) => Kind::Computer,
        (None, false) => Kind::Image,
    };
    let region = region.map(str::to_owned);
    let mut out = Evidence { kind, now_ns: Session::now_ns(), region, ..Evidence::default() };
    if kind != Kind::Phone
        && let Some(scope) = scope
        && let Some(files) = triage::files(place, scope)
    {
        let env = |name: &str| std::env::var(name).ok().filter(|_| place.live());
        out.machine = Some(Machine::look(scope.platform, place.live(), files.as_ref(), &env));
    }
    out
}

/// Adds what a scan found.
fn add_stores(evidence: &mut Evidence, found: &Inspection) {
    evidence.stores = Some(Stores::of(&found.scan));
    evidence.browsers = Machine::browsers(&found.scan);
}

/// Tells of this machine, of which a scan is at hand; of its network too when
/// there is a plan for it. Gives whether something points to a cause.
pub(super) fn of_this_machine(
    session: &Session,
    place: &dyn Place,
    found: &Inspection,
    online: Option<&Plan>,
) -> Result<bool> {
    let mut evidence = beside_the_stores(place, None);
    add_stores(&mut evidence, found);
    evidence.online = online.map(online::ask);
    let outcome = triage::judge(&evidence);
    let style = session.console.style;
    session.console.print(&(TriageDocument::new(&evidence, &outcome).text(style) + "\n"))?;
    Ok(outcome.top().is_some())
}

fn gather(session: &Session, wanted: &cli::Triage, place: &dyn Place) -> Result<Evidence> {
    let mut out = beside_the_stores(place, wanted.region.as_deref());
    let kind = out.kind;
    if let Some(phone) = place.phone() {
        session.bars_stage("Asking");
        let apps = apps(session, wanted, place)?;
        let closed = place.report().device.map(|d| d.closed).unwrap_or_default();
        out.closed = apps.iter().any(|(id, _)| closed.contains(id));
        out.phone = Some(triage::ask_phone(phone.device(), apps));
    }
    if wanted.online {
        let plan = Plan::of(wanted.region.as_deref());
        // On stderr, so that it does not mix with the report, and before the first packet.
        eprintln!("{}", plan.notice());
        session.bars_stage("Asking");
        out.online = Some(online::ask(&plan));
    }
    // The baseline makes the scan fast and detects lost rows.
    let (memory, _) = scan::memory(session, place);
    let options = Options { recall_hashes: false, ..open::options(session, Depth::default(), None) };
    let found = open::engine(session, &wanted.place, place, memory)?.scan(&options)?;
    out.options = options_without_names(kind, wanted);
    add_stores(&mut out, &found);
    Ok(out)
}

/// The options that name the place to the next command. Serial numbers and paths
/// are left for the user to fill in: a report may go to support.
fn options_without_names(kind: Kind, wanted: &cli::Triage) -> String {
    let place = match kind {
        Kind::Computer => "",
        Kind::Image => " --image DIR",
        Kind::Phone => " --device",
    };
    let apps = wanted.place.apps.iter().map(|app| format!(" --app {}", crate::lines::shell_word(app)));
    apps.fold(place.to_owned(), |all, app| all + &app)
}

/// What changed since the triage before of the same place, which this one takes
/// the place of. An image has no records of its own.
fn since(session: &Session, place: &dyn Place, evidence: &Evidence, outcome: &Triage) -> Option<Change> {
    let all = session.state().ok().filter(|_| place.live())?;
    let records = StateDir::open(&place.records(all.path())).ok()?;
    let now = Last::of(outcome, evidence.now_ns);
    let change = Last::read(records.path()).map(|last| last.change(&now));
    if let Err(e) = now.keep(records.path()) {
        tracing::info!(error = %e, "the triage is not remembered");
    }
    change
}

/// The apps that the phone is asked about: those that are named, else those
/// that are installed.
fn apps(session: &Session, wanted: &cli::Triage, place: &dyn Place) -> Result<Vec<(String, String)>> {
    let profiles = session.profiles(wanted.place.profiles.as_deref(), vec![Platform::Android])?;
    let installed = place.report().device.map(|d| d.apps).unwrap_or_default();
    let named = |id: &String| wanted.place.apps.contains(id);
    let is_asked = |id: &String| named(id) || (wanted.place.apps.is_empty() && installed.contains_key(id));
    let all = profiles.of(Platform::Android).filter(|app| is_asked(&app.id));
    Ok(all.map(|app| (app.id.clone(), app.name.clone())).collect())
}

/// Shows the page on which the next step is done.
fn show_page(session: &Session, place: &dyn Place, evidence: &Evidence, outcome: &Triage) -> Result<()> {
    let Some(device) = place.phone() else { return Ok(()) };
    let top = outcome.top();
    let first = evidence.phone.iter().flat_map(|p| &p.apps).next().map(|a| a.id.as_str());
    let app = top.and_then(|s| s.app.as_deref()).or(first);
    let page = top.and_then(|s| s.page).unwrap_or(triage::Page::App);
    phone::show(session, device.device(), page, app)
}
