//! What several topics share.

pub(crate) mod android_tree;
pub mod browsers;
pub mod device;
pub mod phone;
pub mod plans;
pub mod run;
pub mod shop;
pub mod skip;
pub mod sqlite_gen;
pub mod tree;
