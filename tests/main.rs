//! One test binary; each module is one topic. What is left out on Windows has its
//! reason above it; `scripts/check-platforms windows` repeats that.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

mod cli;
mod layers;
mod remember;
mod repair;
mod salvage_repair;
mod schedule;
mod sqlite_live;
mod store_repair;
mod stores;
mod triage;
mod undo;
mod vault;

#[cfg(windows)]
mod windows;

// adb's server, and the Android behind it, are run as programs of Linux
#[cfg(unix)]
mod android;
#[cfg(unix)]
mod android_adbd;
#[cfg(unix)]
mod android_batch;
#[cfg(unix)]
mod android_faults;
#[cfg(unix)]
mod triage_machine;
#[cfg(unix)]
mod triage_online;
#[cfg(unix)]
mod triage_phone;

// the browsers that are run are those of Linux
#[cfg(unix)]
mod browser_stores;
#[cfg(unix)]
mod browser_versions;
#[cfg(unix)]
mod browsers;

// system calls are made to fail, and power cut, by strace, signals and mounts
#[cfg(unix)]
mod crash;
#[cfg(unix)]
mod end_state;
#[cfg(unix)]
mod faults;
#[cfg(unix)]
mod incidents;
#[cfg(unix)]
mod leveldb_repair;
#[cfg(unix)]
mod not_checked;

// links, pipes, sockets and names that only unix has; of Windows' own is windows::*
#[cfg(unix)]
mod odd_files;
#[cfg(unix)]
mod properties;
#[cfg(unix)]
mod races;
#[cfg(unix)]
mod safety;
#[cfg(unix)]
mod writers;

// values: the same on every system, and slow under Wine
#[cfg(unix)]
mod fuzz;
#[cfg(unix)]
mod profile_files;
#[cfg(unix)]
mod profiles;
#[cfg(unix)]
mod salvage;
#[cfg(unix)]
mod salvage_traps;
#[cfg(unix)]
mod sqlite_check;

// the shell script; its counterpart of Windows is compared with it by scripts::cleanup_does_the_same_on_windows
#[cfg(unix)]
mod scripts;
