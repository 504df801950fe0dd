//! Android devices, reached over adb.
//!
//! The `adb` program only starts its server. Everything else is the server's
//! own protocol, because only that keeps exit codes, the end of a stream and
//! the bytes of names. Nothing that a device says is trusted: answers are
//! bounded in size and time, names are data, hashes are hints.

mod bytes;
mod device;
mod facts;
mod files;
mod listing;
mod mirror;
mod quote;
mod server;
mod shell;
mod sync;
mod tier;

pub use device::{Device, DevicePlace, DeviceReport};
pub use facts::{AppFacts, Facts, app_facts, processes};
pub use listing::{FORMAT, parse as parse_listing};
pub use quote::quoted;
pub use server::{Attached, Server, Tracker, ask, parse};
pub use shell::{Output, Packets, Ran};
pub use sync::one as sync_file;
pub use tier::{Reach, Tier};
