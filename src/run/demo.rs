//! `demo`: a damaged sample device in a temporary folder, and the real
//! pipeline on it: scan, plan, repair, scan again, undo, compare.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use super::{Session, open, repair, undo};
use crate::cli;
use crate::engine::Inspection;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::fsys::{Dir, RelPath};
use crate::model::{Platform, Verdict};
use crate::plan::Choice;
use crate::repair::UndoOptions;
use crate::report::{self, Document, size};
use crate::sample::android::{self, Roots};
use crate::sample::harm::{Harm, break_index};
use crate::scan::Baseline;
use crate::vault::StateDir;

pub(super) fn demo(session: &Session, keep: bool) -> Result<Exit> {
    let console = session.console;
    let made = |e: io::Error| Error::new(Kind::Io, "the sample device could not be made").because(e);
    let folder =
        tempfile::Builder::new().prefix("shopmend-demo-").tempdir_in(std::env::temp_dir()).map_err(made)?;
    let base = crate::fsys::real_path(folder.path()).map_err(made)?;
    let (device, state_path) = (base.join("device"), base.join("state"));

    step(session, 1, "Build a damaged sample device: an Android data partition with two apps")?;
    let now = SystemTime::now();
    android::image(&device, now).map_err(made)?;
    let tiktok = Roots::new(&device, android::TIKTOK);
    for harm in Harm::ALL {
        harm.apply(&tiktok).map_err(made)?;
        console.say(&format!("   - {}", harm.what()))?;
    }
    let seller = Roots::new(&device, android::SELLER);
    break_index(&seller.data.join(format!("databases/{}_im.db", android::USER))).map_err(made)?;
    console.say("   - an index of the shop's messages no longer fits its table")?;
    let before = snapshot(&device)?;
    let bytes: u64 = before.values().map(|e| e.size).sum();
    console.say(&format!("   {} files and folders in {}", before.len(), size(bytes)))?;

    let wanted =
        cli::Where { image: Some(device.clone()), platform: Some(Platform::Android), ..Default::default() };
    let place = open::place(session, &wanted, true)?;
    let state = StateDir::open(&state_path)?.lock()?;
    let memory = Baseline::open(state.path())?;
    let mut engine = open::engine(session, &wanted, place.as_ref(), Some(memory))?;
    let options = open::options(session, cli::Depth::default(), None);
    let show = |found: &Inspection| report::text(&Document::of_scan(found), console.style);

    step(session, 2, "Scan it (nothing is written to the device)")?;
    let first = engine.scan(&options)?;
    console.print(&show(&first))?;
    unchanged(&device, &before, "the scan")?;

    step(session, 3, "Plan, back up, clear, rebuild, verify")?;
    let ways = repair::Ways::default();
    let (exit, run) = repair::carry_out(session, &mut engine, &first, &Choice::default(), &ways, &state)?;
    let run = run.ok_or_else(|| {
        Error::new(Kind::Failed, "the repair had nothing to do, though the device is damaged")
    })?;

    step(session, 4, "Scan again")?;
    let second = engine.scan(&options)?;
    console.print(&show(&second))?;
    let tally = |scan: &crate::scan::Scan, v| scan.by_verdict().get(&v).copied().unwrap_or(0);
    let (was, is) = (tally(&first.scan, Verdict::Damaged), tally(&second.scan, Verdict::Damaged));
    console.print(&format!("Damaged stores: {was} before, {is} after the repair\n"))?;

    step(session, 5, "Undo the repair and compare every file")?;
    undo::undo_run(session, place.as_ref(), &state, Some(&run), &UndoOptions::default())?;
    session.control.safe_point()?;
    unchanged(&device, &before, "the undo")?;
    console.print(&format!(
        "{} files and folders are identical to before the repair: names, contents, times, modes\n",
        before.len()
    ))?;
    if keep {
        let kept = folder.keep();
        console.print(&format!("The sample device is in {}\n", kept.display()))?;
    }
    if is >= was || exit == Exit::Failed || exit == Exit::RolledBack {
        return Err(Error::new(Kind::Failed, "the repair did not mend the sample device"));
    }
    Ok(Exit::Ok)
}

fn step(session: &Session, number: u32, what: &str) -> Result<()> {
    let line = session.console.style.bold(&format!("{number}. {what}"));
    session.console.print(&format!("\n{line}\n"))
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    size: u64,
    mtime_ns: i128,
    mode: u32,
    owner: (u32, u32),
    content: Option<blake3::Hash>,
}

/// Every file and folder below `root`, with content, times, modes and owners.
fn snapshot(root: &Path) -> Result<BTreeMap<RelPath, Entry>> {
    let read = || -> io::Result<BTreeMap<RelPath, Entry>> {
        let dir = Dir::open(root)?;
        let mut out = BTreeMap::new();
        for step in dir.walk(|_| true) {
            let found = step.map_err(|e| e.source)?;
            let content = match found.meta.kind {
                crate::fsys::Kind::File => {
                    let mut hasher = blake3::Hasher::new();
                    hasher.update_reader(dir.open_file(&found.path)?)?;
                    Some(hasher.finalize())
                }
                _ => None,
            };
            let meta = found.meta;
            out.insert(
                found.path,
                Entry {
                    size: if content.is_some() { meta.size } else { 0 },
                    mtime_ns: meta.mtime_ns,
                    mode: meta.mode,
                    owner: (meta.uid, meta.gid),
                    content,
                },
            );
        }
        Ok(out)
    };
    read().map_err(|e| Error::io("the sample device cannot be read", root, e))
}

fn unchanged(root: &Path, before: &BTreeMap<RelPath, Entry>, what: &str) -> Result<()> {
    let now = snapshot(root)?;
    let differs = before.keys().chain(now.keys()).find(|path| before.get(*path) != now.get(*path));
    match differs {
        None => Ok(()),
        Some(path) => Err(Error::new(Kind::Failed, format!("{what} left a difference on the sample device"))
            .on(&root.join(path.as_path()))),
    }
}
