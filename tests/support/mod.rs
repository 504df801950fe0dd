//! What several topics share.

pub mod browsers;
pub mod run;
pub mod skip;
pub mod tree;
