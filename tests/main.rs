//! One test binary; each module is one topic.

mod support;
