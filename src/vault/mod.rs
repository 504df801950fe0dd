//! What is kept, and where: the state folder with its lock, the vault of
//! verified copies, and for every run a journal, a manifest that a person can
//! read, and whatever the run moved aside.
//!
//! ```text
//! <state>/lock                       held by the one run that may change things
//! <state>/scratch/                   private copies that a check works on
//! <state>/reserve                    room for a journal when the disk is full
//! <state>/vault/objects/ab/ab12…     copies, named by the BLAKE3 of their content
//! <state>/runs/<id>/journal          what the run did; `undo` and crash recovery read nothing else
//! <state>/runs/<id>/manifest.json    the same for a person
//! <state>/runs/<id>/RESTORE.txt      how to put everything back without this program
//! <state>/runs/<id>/quarantine/      what was moved aside, under its old names
//! ```

mod export;
mod healthy;
mod held;
mod journal;
mod list;
mod manifest;
mod objects;
mod record;
mod reserve;
mod run;
mod run_id;
pub mod scratch;
mod state;

pub use export::{Exported, export, restore_to};
pub use healthy::{StoreCopy, copy_of, healthy_copies, reads_back};
pub use held::{is_as_set_aside, needed_objects};
pub use journal::{Damage, Journal, read_records};
pub use list::{Problem, RunSummary, StoreSummary, Verified, is_backup, is_sound, list, verify};
pub use manifest::{append_restore_text, held_path, quoted, restore_text_agrees, write_manifest};
pub use objects::{Objects, Put, Wrong, object_path};
pub use record::{Base, Begin, Copied, Folder, Record, RunKind, Step, Unit, UnitOp};
pub use run::{Before, Run, Stage, UnitState};
pub(crate) use run::{damaged, shortened};
pub use run_id::{BadRunId, RunId};
pub use state::{LockedState, StateDir};
