//! Android devices, reached over adb.
//!
//! The `adb` program only starts its server. Everything else is the server's
//! own protocol, because only that keeps exit codes, the end of a stream and
//! the bytes of names. Nothing that a device says is trusted: answers are
//! bounded in size and time, names are data, hashes are hints.

mod acts;
mod ask;
mod bytes;
mod device;
mod facts;
mod files;
mod kept;
mod listing;
mod mirror;
mod parts;
mod place;
mod questions;
mod quote;
mod recall;
mod records;
mod report;
mod server;
mod shell;
mod sizes;
mod sync;
mod tier;

pub use acts::Acts;
pub use ask::Question;
pub use device::Device;
pub(crate) use facts::ascii_digits;
pub use facts::{AppFacts, Facts, app_facts, processes};
pub(crate) use listing::time;
pub use listing::{FORMAT, SIGNS, parse as parse_listing, parse_both as parse_listing_of_both};
pub use parts::cut as cut_parts;
pub use place::{DevicePlace, known_records, open, records_of};
pub use questions::Wanted;
pub use quote::quoted;
pub use report::DeviceReport;
pub use server::{Attached, Server, Tracker, ask, parse};
pub use shell::{Output, Packets, Ran};
pub use sizes::{Sizes, sizes};
pub use sync::one as sync_file;
pub use tier::{Reach, Tier};
