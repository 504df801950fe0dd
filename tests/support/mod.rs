//! What several topics share.

pub mod plans;
pub mod browsers;
pub mod run;
pub mod skip;
pub mod sqlite_gen;
pub mod tree;
