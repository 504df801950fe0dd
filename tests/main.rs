//! One test binary; each module is one topic.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

mod android;
mod android_adbd;
mod android_batch;
mod android_faults;
mod browser_stores;
mod browsers;
mod cli;
mod crash;
mod faults;
mod incidents;
mod odd_files;
mod profile_files;
mod profiles;
mod properties;
mod races;
mod repair;
mod salvage;
mod salvage_repair;
mod salvage_traps;
mod schedule;
mod scripts;
mod sqlite_check;
mod sqlite_live;
mod store_repair;
mod stores;
mod undo;
mod vault;
