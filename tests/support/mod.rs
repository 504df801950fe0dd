//! What several topics share.

pub mod tree;
