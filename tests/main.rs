//! One test binary; each module is one topic.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod repair;
mod support;
mod undo;
