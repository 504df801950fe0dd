//! What several topics share.

pub mod plans;
pub mod tree;
