//! What to look for: which apps exist on a platform, where their stores lie,
//! what each is, and what may be done to it.

mod model;

pub use model::{App, Confidence, May, RootTemplate, Rule};

/// The rules of one root, ready to match paths.
#[derive(Debug, Default)]
pub struct RuleSet {}
