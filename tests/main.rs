//! One test binary; each module is one topic. Those of unix alone are about its
//! ways, or need its tools.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

#[cfg(unix)]
mod android;
#[cfg(unix)]
mod android_adbd;
#[cfg(unix)]
mod android_batch;
#[cfg(unix)]
mod android_faults;
#[cfg(unix)]
mod browser_stores;
#[cfg(unix)]
mod browsers;
mod cli;
#[cfg(unix)]
mod crash;
#[cfg(unix)]
mod faults;
#[cfg(unix)]
mod incidents;
#[cfg(unix)]
mod odd_files;
#[cfg(unix)]
mod profile_files;
#[cfg(unix)]
mod profiles;
#[cfg(unix)]
mod properties;
#[cfg(unix)]
mod races;
mod repair;
#[cfg(unix)]
mod salvage;
mod salvage_repair;
#[cfg(unix)]
mod salvage_traps;
#[cfg(unix)]
mod schedule;
#[cfg(unix)]
mod scripts;
#[cfg(unix)]
mod sqlite_check;
#[cfg(unix)]
mod sqlite_live;
mod store_repair;
mod stores;
mod undo;
mod vault;
#[cfg(windows)]
mod windows;
