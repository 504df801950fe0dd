//! The engine: everything that works on a place does it through here.
//!
//! ```text
//! Engine::scan -> Inspection -> Engine::plan -> Proposal -> Engine::execute -> Outcome
//! ```
//!
//! What makes a repair safe is wired in once, here: the guard that has the
//! last word on every path, the full check of every new store, the question
//! whether the app is down, and the recovery of runs that were cut off. What
//! makes its report true is here as well: after a repair, an undo or a restore
//! every store that it touched is looked at again by a real check, and the
//! exit code is made from that [`EndState`], never from the actions.

mod end_state;
mod exit;
mod records;
mod verify;

use std::path::{Path, PathBuf};

pub use end_state::{EndState, StoreState};
pub use exit::{Losses, of_backup, of_end, of_scan};
pub use records::{recover, restore, undo};

use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::lines::shell_word;
use crate::model::{Class, Platform};
use crate::place::{Affected, Filter, Place, PlaceReport, Request, locate};
use crate::plan::{self, Choice, Guard, Plan, SavedCopy, Skipped};
use crate::profile::Profiles;
use crate::repair;
use crate::scan::{Baseline, Depth, Options, Scan, Volume};
use crate::store::{self, RebuildRequest};
use crate::vault::{LockedState, StateDir};

/// A place and all that is needed to work on it safely.
pub struct Engine<'a> {
    place: &'a dyn Place,
    profiles: Profiles,
    request: Request,
    memory: Option<Baseline>,
    control: Control,
}

/// Where and how a place was looked at.
#[derive(Debug, Clone)]
pub struct About {
    /// The place for the user.
    pub label: String,
    /// The options that name the same place and choice to another command.
    pub options: String,
    pub platform: Platform,
    /// Whether the files belong to a running system.
    pub live: bool,
    /// Home folders: never a target of an action themselves.
    pub homes: Vec<PathBuf>,
    /// What is known of the place besides its files.
    pub report: PlaceReport,
}

/// A place that was looked at.
#[derive(Debug)]
pub struct Inspection {
    pub scan: Scan,
    pub about: About,
    /// How it was looked at; a look at what a repair touched is the same.
    pub options: Options,
    /// Of the stores that are damaged or lost, the newest copy in the vault
    /// that was healthy; see [`Engine::look_into_vault`].
    pub copies: Vec<SavedCopy>,
}

impl Inspection {
    /// The exit code of a scan.
    #[must_use]
    pub fn exit(&self) -> Exit {
        of_scan(&self.scan)
    }

    /// An error when one of these ids is not the id of a store.
    ///
    /// # Errors
    /// Kind `Usage`.
    pub fn has_all(&self, ids: &[String]) -> Result<()> {
        match ids.iter().find(|id| !self.scan.stores().any(|(_, s)| s.id == **id)) {
            Some(unknown) => Err(Error::new(Kind::Usage, format!("no store has the id {unknown:?}"))
                .hint("`shopmend scan -v` shows the ids")),
            None => Ok(()),
        }
    }
}

/// A plan and what it leaves out.
#[derive(Debug, Clone)]
pub struct Proposal {
    pub plan: Plan,
    pub skipped: Vec<Skipped>,
    /// Healthy copies of the vault that a person may choose instead of what
    /// the plan does with their stores, or of leaving them as they are.
    pub copies: Vec<SavedCopy>,
}

impl Proposal {
    /// A new proposal without the actions of these numbers, from 1; they are
    /// noted as left out by choice.
    #[must_use]
    pub fn without(&self, numbers: &[usize]) -> Self {
        let (mut kept, mut skipped) = (Vec::new(), self.skipped.clone());
        for (at, action) in self.plan.actions.iter().enumerate() {
            if numbers.contains(&(at + 1)) {
                skipped.push(Skipped {
                    store: action.store.clone(),
                    path: crate::fsys::shown(&action.root.join(action.path.as_path())),
                    reason: "left out by choice".to_owned(),
                    by_choice: true,
                });
            } else {
                kept.push(action.clone());
            }
        }
        Self { plan: Plan { actions: kept, ..self.plan.clone() }, skipped, copies: self.copies.clone() }
    }
}

/// How a plan is to be executed.
#[derive(Clone, Copy)]
pub struct How<'a> {
    /// Free the space of what is cleared for good.
    pub reclaim: bool,
    /// Ask an app that runs to end.
    pub stop_app: bool,
    /// As root, work in folders that another user could replace.
    pub allow_root: bool,
    /// Hears what is worth telling while it goes on.
    pub say: &'a dyn Fn(&str),
}

impl Default for How<'_> {
    fn default() -> Self {
        Self { reclaim: false, stop_app: false, allow_root: false, say: &|_| {} }
    }
}

/// What a command that changes or copies stores came to.
#[derive(Debug)]
pub struct Outcome {
    /// What a scan before it found; `None` for work that starts from the
    /// records of an earlier run.
    pub before: Option<EndState>,
    /// What was to be done.
    pub proposal: Option<Proposal>,
    /// What was done; `None` when there was nothing to do.
    pub done: Option<repair::Outcome>,
    /// How everything that was touched or left is now.
    pub after: EndState,
    /// What the work could not bring back.
    pub losses: Losses,
    /// Why the place is no longer there, when it was lost meanwhile.
    pub lost: Option<String>,
}

impl Outcome {
    /// The exit code: a function of the end state, the coverage and the losses.
    #[must_use]
    pub fn exit(&self) -> Exit {
        let skipped = self.proposal.iter().flat_map(|p| &p.skipped).any(|s| !s.by_choice);
        of_end(self.done.as_ref(), skipped, &self.after, self.losses, self.lost.is_some())
    }
}

impl<'a> Engine<'a> {
    /// Works on a place.
    ///
    /// `memory` remembers what was healthy at earlier scans; without it every
    /// file is read again.
    #[must_use]
    pub fn new(
        place: &'a dyn Place,
        profiles: Profiles,
        request: Request,
        memory: Option<Baseline>,
        control: &Control,
    ) -> Self {
        Self { place, profiles, request, memory, control: control.clone() }
    }

    /// The place that it works on.
    #[must_use]
    pub fn place(&self) -> &'a dyn Place {
        self.place
    }

    /// Stores whose present state the user accepts and that have lost nothing;
    /// see [`Baseline::accept`].
    #[must_use]
    pub fn not_accepted(&self) -> Vec<String> {
        self.memory.as_ref().map(Baseline::not_accepted).unwrap_or_default()
    }

    /// Looks at the place and changes nothing.
    ///
    /// # Errors
    /// Kind `Usage` for an app that no profile knows, `Device` when a device
    /// does not answer, `Interrupted`. What cannot be read is not an error: it
    /// is in the coverage of the outcome.
    pub fn scan(&mut self, options: &Options) -> Result<Inspection> {
        let place = self.place;
        place.begin(&self.control)?;
        let located = locate(&self.profiles, place, &Filter { apps: self.request.apps.clone() })?;
        place.load(&located.targets, options.depth == Depth::Deep, &self.control)?;
        let targets = located.targets;
        let mut scan = crate::scan::scan(targets, place, options, self.memory.as_mut(), &self.control)?;
        place.end()?;
        let report = place.report();
        for scanned in &mut scan.targets {
            if let Some(notes) = report.app_notes.get(&scanned.target.app.id) {
                scanned.notes.extend(notes.iter().cloned());
            }
        }
        scan.volumes.extend(report.room.iter().map(|(path, space)| Volume::of(path, space)));
        scan.notes.extend(report.notes.iter().cloned());
        scan.notes.extend(located.notes.iter().map(ToString::to_string));
        scan.not_checked.extend(located.not_checked);
        scan.not_checked.extend(report.not_checked.iter().cloned());
        scan.not_checked.extend(scan.content_left_unread());
        scan.not_checked.extend(scan.content_without_format());
        let scopes = place.scopes();
        let about = About {
            label: place.name(),
            options: self.options(),
            platform: scopes.first().map_or_else(Platform::host, |s| s.platform),
            live: place.live(),
            homes: scopes
                .iter()
                .filter_map(|s| s.bases.get("HOME"))
                .flatten()
                .map(|b| b.path.clone())
                .collect(),
            report,
        };
        // What is looked at again later is judged as it was here.
        let options = Options { trust_ages: options.trust_ages && !scan.clock_in_doubt, ..*options };
        Ok(Inspection { scan, about, options, copies: Vec::new() })
    }

    /// Asks the vault for healthy copies of the stores that are damaged or
    /// lost, and says in their findings how to put them back.
    ///
    /// # Errors
    /// `Io` when the vault cannot be read.
    pub fn look_into_vault(&self, found: &mut Inspection, state: &StateDir) -> Result<()> {
        let copies = repair::name_healthy_copies(&mut found.scan, state)?;
        found.copies = copies.into_iter().map(SavedCopy::from).collect();
        Ok(())
    }

    /// The options that another command needs to do the same work.
    fn options(&self) -> String {
        let mut out = self.place.options();
        for app in &self.request.apps {
            out.push_str(&format!(" --app {}", shell_word(app)));
        }
        if let Some(profiles) = &self.request.profiles {
            out.push_str(&format!(" --profiles {}", shell_word(&profiles.to_string_lossy())));
        }
        out
    }

    /// What can be done about what a scan found. `records` is the folder for
    /// backups, which no action may touch.
    #[must_use]
    pub fn plan(&self, found: &Inspection, choice: &Choice, records: &Path) -> Proposal {
        let guard = self.guard(found, records);
        let about = &found.about;
        let (plan, skipped) = plan::make(&found.scan, about.platform, about.live, choice, &guard);
        let put_back = |id: &str| choice.put_back.iter().any(|c| c.store == id);
        let wanted = |id: &String| choice.stores.is_empty() || choice.stores.contains(id);
        let copies = found.copies.iter().filter(|c| wanted(&c.store) && !put_back(&c.store));
        Proposal { plan, skipped, copies: copies.cloned().collect() }
    }

    fn guard(&self, found: &Inspection, records: &Path) -> Guard {
        Guard { own: vec![records.to_path_buf()], homes: found.about.homes.clone(), disk: self.place.disk() }
    }

    /// Executes a proposal, then looks again at every store that it touched.
    ///
    /// # Errors
    /// Before anything is touched: what [`Place::stop`] and
    /// [`repair::execute`] refuse. Afterwards the outcome says everything.
    pub fn execute(
        &mut self,
        found: &Inspection,
        proposal: Proposal,
        how: &How<'_>,
        state: &LockedState,
    ) -> Result<Outcome> {
        let before = EndState::of_scan(&found.scan);
        if proposal.plan.actions.is_empty() {
            return Ok(Outcome {
                after: before.clone(),
                before: Some(before),
                proposal: Some(proposal),
                done: None,
                losses: Losses::default(),
                lost: self.place.lost(),
            });
        }
        let plan = &proposal.plan;
        self.stop_apps(found, &|target| plan.actions.iter().any(|a| a.target == target), how)?;
        let guard = self.guard(found, state.path());
        let target_of = |id: &str| found.scan.targets.iter().find(|t| t.target.id == id).map(|t| &t.target);
        let allows = |action: &plan::Action, item: &plan::Item| {
            let target = target_of(&action.target).ok_or_else(|| "its app is gone".to_owned())?;
            // A folder that goes as a whole: each file in it is asked for as well.
            if item.dir {
                return guard.clearable(&action.root, &action.path, &item.path);
            }
            guard.item(target, action, &item.path)
        };
        let memory = self.memory.as_ref();
        let rebuild = |action: &plan::Action, request: &RebuildRequest<'_>| {
            let known = memory.and_then(|m| m.facts(&action.target, &action.store));
            store::rebuild(action.kind, &RebuildRequest { known: known.as_ref(), ..*request })
        };
        let control = self.control.clone();
        let sound = |kind, path: &Path| verify::is_sound(kind, path, &control);
        let place = self.place;
        let in_use = |store: &Affected<'_>| place.in_use(store);
        let hooks = repair::Hooks { rebuild: &rebuild, verify: &sound, guard: &allows, running: &in_use };
        let options = repair::ExecuteOptions { reclaim: how.reclaim, allow_root: how.allow_root };
        let done = repair::execute(plan, state, &options, &hooks, &self.control)?;
        let looked = end_state::look_again(self.place, found, plan, self.memory.as_mut(), &self.control);
        Ok(Outcome {
            after: before.with(&looked),
            before: Some(before),
            losses: Losses::of(&done),
            done: Some(done),
            proposal: Some(proposal),
            lost: self.place.lost(),
        })
    }

    /// Copies stores into the vault without touching them: those of these ids,
    /// or without ids all but caches; `caches` adds those.
    ///
    /// # Errors
    /// As [`Engine::execute`].
    pub fn backup(
        &mut self,
        found: &Inspection,
        ids: &[String],
        caches: bool,
        how: &How<'_>,
        state: &LockedState,
    ) -> Result<Outcome> {
        let mut stores = Vec::new();
        for (scanned, store) in found.scan.stores() {
            let named = ids.contains(&store.id);
            let by_class = ids.is_empty() && (caches || store.class != Class::Cache);
            if store.files.is_empty() || !(named || by_class) {
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
        let before = EndState::of_scan(&found.scan);
        let mut done = None;
        if !stores.is_empty() {
            self.stop_apps(found, &|target| stores.iter().any(|s| s.target == target), how)?;
            let options = repair::BackupOptions {
                platform: found.about.platform,
                live: found.about.live,
                allow_root: how.allow_root,
            };
            let place = self.place;
            let in_use = |store: &Affected<'_>| place.in_use(store);
            done = Some(repair::backup(&stores, state, &options, &in_use, &self.control)?);
        }
        Ok(Outcome {
            after: before.clone(),
            before: Some(before),
            proposal: None,
            done,
            losses: Losses::default(),
            lost: self.place.lost(),
        })
    }

    /// Sees to it that no app whose target is affected runs.
    fn stop_apps(&self, found: &Inspection, affected: &dyn Fn(&str) -> bool, how: &How<'_>) -> Result<()> {
        let targets = found.scan.targets.iter().map(|t| &t.target).filter(|t| affected(&t.id));
        targets.into_iter().try_for_each(|target| self.place.stop(target, how.stop_app, how.say))
    }
}
