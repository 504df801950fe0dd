//! Is it the device, and what is it? From evidence to the nine causes.
//!
//! ```text
//! phone: probes -> answers -> Phone  ┐
//! computer: files -> Machine         ├─ Evidence ─ checks ─► statements ─► Triage
//! scan: Stores, browsers             ┘
//! ```
//!
//! Gathering and judging are apart: a [`Check`] reads [`Evidence`] and nothing
//! else. What a phone answers is personal; parsers keep counts, versions, dates
//! and codes of countries, and the answers are dropped.

mod answer;
mod cause;
mod check;
mod checks;
mod evidence;
mod fleet;
mod gather;
mod last;
pub mod machine;
mod markets;
pub mod online;
pub mod phone;
mod result;
mod stores;
mod summary;

pub use answer::{Answer, Page, Statement};
pub use cause::Cause;
pub use check::{Check, all as checks};
pub use evidence::{Evidence, Kind, Seen, Unseen};
pub use fleet::{FleetHint, Member, fleet};
pub use gather::{files, phone as ask_phone};
pub use last::{Change, Last};
pub use markets::{Market, Markets};
pub use result::{CauseAnswer, Triage, judge};
pub use stores::{AppStores, Stores};
pub use summary::summary;
