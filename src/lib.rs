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
//! Modules depend downwards in this list only:
//!
//! | room | what it is for |
//! |---|---|
//! | `cli`, `run`, [`exit`], [`error`] | the door: parse, run, exit |
//! | `report` | one result, several formats |
//! | `schedule` | unattended runs for the systems' schedulers |
//! | `repair` | execute a plan: back up, clear, rebuild, swap, undo |
//! | `vault` | content-addressed, verified backups |
//! | [`plan`], `guard` | what would be done; what may never be touched |
//! | `scan` | walk, hash, compare with the baseline, judge |
//! | [`store`] | one file per store kind: recognise and check |
//! | [`sqlite`] | the crate that knows the SQLite file format: read, check, salvage, rebuild |
//! | `process` | is the app running, ask it to stop |
//! | [`sample`] | healthy sample stores and ways to damage them, for the demo and the tests |
//! | [`place`], [`profile`] | where files live, and what to look for |
//! | [`control`] | cancellation and progress |
//! | [`lines`] | text for people in lines of 80 columns |
//! | [`clock`] | whether the clock can be believed |
//! | [`fsys`] | the only code that touches a target's disk |
//! | [`output`] | files that are written for the person |
//! | [`model`] | the words that every room shares |

pub mod cli;
pub mod clock;
pub mod config;
pub mod console;
pub mod control;
pub mod engine;
pub mod error;
pub mod exit;
pub mod fsys;
pub mod guard;
pub mod keep;
pub mod lines;
pub mod model;
pub mod output;
pub mod place;
pub mod plan;
pub mod process;
pub mod profile;
pub mod repair;
pub mod report;
pub mod run;
pub mod sample;
pub mod scan;
pub mod schedule;
pub mod store;
pub mod vault;

/// The SQLite file format: a crate of its own, which knows nothing of the rooms here.
pub use shopmend_sqlite as sqlite;

/// The tests beside the code and those in `tests` leave out alike what cannot run.
#[cfg(test)]
#[path = "../tests/support/skip.rs"]
mod skip;
