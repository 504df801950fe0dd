//! shopmend finds the local data of TikTok Shop (Seller Center) and its
//! sibling apps on a device, tells what is damaged or stale, and repairs it
//! without losing anything.
//!
//! The crate is one flow; each stage takes the value of the one before:
//!
//! ```text
//! profiles -> locate -> targets -> scan -> findings -> plan -> repair -> verify -> report
//! ```
//!
//! Modules use only what stands below them in this list; `tests/layers.rs`
//! reads every import and holds it.
//!
//! | module | what it is for |
//! |---|---|
//! | [`run`] | one command a file: parse, call the engine, report |
//! | [`console`] | the terminal: output, progress, a question |
//! | [`config`] | the user's configuration file |
//! | [`cli`] | what can be asked for on the command line, and its help |
//! | [`report`] | one result, several formats |
//! | [`output`] | files that are written for the user |
//! | [`schedule`] | unattended runs for the systems' schedulers |
//! | [`triage`] | is it the device, and what is it: evidence in, answers out |
//! | [`engine`] | scan, plan, execute and look again, with everything that makes it safe |
//! | [`repair`] | execute a plan: back up, clear, rebuild, swap, undo |
//! | [`vault`] | content-addressed, verified backups and the journals of runs |
//! | [`plan`] | what would be done, and the guard: what may never be touched |
//! | [`scan`] | walk, hash, compare with the baseline, judge |
//! | [`sample`] | healthy sample stores and ways to damage them, for the demo and the tests |
//! | [`store`] | one file per store kind: recognise, check, list, rebuild |
//! | [`sqlite`] | the crate that knows the SQLite file format: read, check, salvage, rebuild |
//! | [`place`] | where files live and how they are reached: this machine, an image, a device |
//! | [`process`] | is an app running, has it a file open, ask it to end |
//! | [`profile`] | which apps exist, where their stores lie, what may be done to them |
//! | [`keep`] | what the user wants left alone |
//! | [`clock`] | whether the clock can be believed |
//! | [`control`] | cancellation and progress |
//! | [`lines`] | text for the terminal |
//! | [`error`] | the one error that reaches the user |
//! | [`exit`] | the exit codes |
//! | [`model`] | the words that every module shares |
//! | [`fsys`] | the only code that touches a target's disk |

pub(crate) mod cli;
pub(crate) mod clock;
pub(crate) mod config;
pub(crate) mod console;
pub mod control;
pub mod engine;
pub mod error;
pub mod exit;
pub mod fsys;
pub mod keep;
pub(crate) mod lines;
pub mod model;
pub(crate) mod output;
pub mod place;
pub mod plan;
pub mod process;
pub mod profile;
pub mod repair;
pub mod report;
pub mod run;
pub mod sample;
pub mod scan;
pub(crate) mod schedule;
pub mod store;
pub mod triage;
pub mod vault;

/// The SQLite file format: a crate of its own, which knows nothing of the modules here.
pub use shopmend_sqlite as sqlite;

/// The tests beside the code and those in `tests` leave out alike what cannot run.
#[cfg(test)]
#[path = "../tests/support/skip.rs"]
mod skip;
