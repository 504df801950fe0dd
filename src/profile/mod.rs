//! What to look for: which apps exist on a platform, where their stores lie,
//! what each is, and what may be done to it.
//!
//! Profiles are data, but data that decides what is deleted, so they are read
//! like code: everything that is not understood is refused, with file and line.

mod assemble;
mod check;
pub mod commands;
mod listing;
mod load;
mod model;
mod origin;
mod overlap;
mod pattern;
mod problem;
mod raw;
mod rules;
mod template;
mod tree;

use std::sync::Arc;

pub use listing::{BadList, ListFormat, Listing, MAX_LIST_BYTES, MAX_LISTED, listed, named_by_options};
pub use load::Extra;
pub use model::{App, Confidence, Identify, Install, May, RootTemplate, Rule, Shape, sidecars};
pub use origin::{Origins, host_of};
pub use pattern::{BadPattern, Pattern};
pub(crate) use pattern::{NameGlob, name_glob, prepared};
pub use problem::{Problem, Problems};
pub use rules::{Below, Position, RuleMatch, RuleSet};
pub use template::{BadTemplate, Base, Template};
pub(crate) use template::{least, protected_below_home, protected_below_top};

use crate::error::Result;
use crate::model::Platform;

/// Something that is not cleared whatever a rule says.
#[derive(Debug, Clone)]
pub struct Never {
    exact: Arc<Pattern>,
    folded: Arc<Pattern>,
    /// Why, for a person.
    pub reason: String,
}

impl Never {
    fn pattern(&self, fold: bool) -> &Arc<Pattern> {
        if fold { &self.folded } else { &self.exact }
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn path(&self) -> &str {
        self.exact.as_str()
    }
}

/// Every app that is known, on every platform.
#[derive(Debug, Clone, Default)]
pub struct Profiles {
    apps: Vec<Arc<App>>,
    never: Vec<Never>,
    origins: Arc<Origins>,
}

impl Profiles {
    /// The built-in profiles and a person's own, which replace built-in apps of
    /// the same id and platform.
    ///
    /// # Errors
    /// Kind `Profile` with every line that is refused and why; `Io` when a named
    /// folder or file cannot be read.
    pub fn load(extra: &Extra) -> Result<Self> {
        load::load(extra)
    }

    /// Reads profiles from text, with the built-in ones: `(name, text)` pairs.
    ///
    /// # Errors
    /// Every line that is refused and why.
    pub fn from_texts(texts: &[(&str, &str)]) -> Result<Self, Problems> {
        let mut sources = load::builtin();
        sources.extend(texts.iter().map(|(file, text)| problem::Source::new(*file, *text, false)));
        assemble::assemble(&sources, assemble::Prove::Own, &[])
    }

    /// Reads one text without the built-in profiles, whose layouts it then does
    /// not know: the reader alone, for fuzzing.
    ///
    /// # Errors
    /// Every line that is refused and why.
    pub fn from_text_alone(file: &str, text: &str) -> Result<Self, Problems> {
        assemble::assemble(&[problem::Source::new(file, text, false)], assemble::Prove::All, &[])
    }

    /// Reads the built-in profiles and proves of each app what is proved of a
    /// person's own: no overlap of classes, nothing of the never-clear list,
    /// samples that hold.
    ///
    /// # Errors
    /// Every line that is refused and why.
    pub fn prove_builtin() -> Result<Self, Problems> {
        assemble::assemble(&load::builtin(), assemble::Prove::All, &[])
    }

    /// All apps, by platform and id.
    #[must_use]
    pub fn apps(&self) -> &[Arc<App>] {
        &self.apps
    }

    /// The apps of one platform, by id.
    pub fn of(&self, platform: Platform) -> impl Iterator<Item = &Arc<App>> {
        self.apps.iter().filter(move |a| a.platform == platform)
    }

    /// What is never cleared.
    #[must_use]
    pub fn never(&self) -> &[Never] {
        &self.never
    }

    /// Why a path below a root is never cleared, when it, or a folder above it,
    /// is on the list of what is not.
    #[must_use]
    pub fn why_never(&self, platform: Platform, path: &crate::fsys::RelPath) -> Option<&str> {
        let fold = platform.ignores_case();
        let names: Vec<_> = path.components().map(|n| prepared(n, fold)).collect();
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        let hit = |n| self.never.iter().find(|x| x.pattern(fold).matches(names.get(..n).unwrap_or_default()));
        (1..=names.len()).find_map(hit).map(|n| n.reason.as_str())
    }

    /// The shop's own hosts.
    #[must_use]
    pub fn origins(&self) -> &Origins {
        &self.origins
    }
}
