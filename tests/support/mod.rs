//! What several topics share.

pub(crate) mod android_tree;
#[cfg(unix)]
pub mod browsers;
pub mod canned;
#[cfg(unix)]
pub mod device;
#[cfg(unix)]
pub mod phone;
pub mod plans;
pub mod run;
pub mod shop;
pub mod skip;
#[cfg(unix)]
pub mod sqlite_gen;
#[cfg(unix)]
pub(crate) mod terminal;
pub mod tree;
