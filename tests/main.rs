//! One test binary; each module is one topic.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

mod browsers;
mod crash;
mod profiles;
mod repair;
mod salvage;
mod scripts;
mod sqlite_check;
mod undo;
mod vault;
