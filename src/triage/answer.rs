//! What a check answers, and what each answer is worth.

use serde::Serialize;

use super::cause::Cause;

/// The five answers. None of them is "fine": a device can show a cause, it can
/// never show that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The evidence is here.
    Found,
    /// Something fits, and does not prove it.
    Hint,
    /// It should have been looked at, and was not.
    NotLookedAt,
    /// No device can see it.
    NotVisible,
    /// It was looked at, and nothing was found.
    NothingFound,
}

impl Answer {
    /// Every answer, the most telling first.
    pub const ALL: [Self; 5] =
        [Self::Found, Self::Hint, Self::NotLookedAt, Self::NotVisible, Self::NothingFound];

    /// The word for a person.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Hint => "hint",
            Self::NotLookedAt => "not looked at",
            Self::NotVisible => "not visible",
            Self::NothingFound => "nothing found here",
        }
    }

    /// The word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Hint => "hint",
            Self::NotLookedAt => "not-looked-at",
            Self::NotVisible => "not-visible",
            Self::NothingFound => "nothing-found",
        }
    }

    /// Whether it points at a cause.
    #[must_use]
    pub fn points(self) -> bool {
        matches!(self, Self::Found | Self::Hint)
    }
}

/// A page that can be shown on the phone for the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Page {
    /// The app's own settings: storage, data use, battery.
    App,
    /// The app in the store.
    Store,
    /// The WebView in the store.
    WebView,
    Date,
    Network,
    Vpn,
    BatterySaver,
    DataSaver,
    Storage,
    SystemUpdate,
    Developer,
}

/// What one check says of one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// Stable, and never changes meaning: `network.captive-portal`.
    pub code: &'static str,
    /// The check that says it.
    pub check: &'static str,
    pub cause: Cause,
    pub answer: Answer,
    /// A few words for a table.
    #[serde(skip)]
    pub brief: String,
    /// One or two sentences.
    pub says: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The page of the phone on which to do it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<Page>,
    /// The app it is about, by its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Where it was seen, and how often.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// Whether nothing can be said of the cause while this was not looked at.
    #[serde(skip)]
    pub(super) leaves_open: bool,
    /// Whether it is about another cause than the check as a whole.
    #[serde(skip)]
    pub(super) about: Option<Cause>,
}

impl Statement {
    fn new(code: &'static str, answer: Answer, brief: impl Into<String>, says: impl Into<String>) -> Self {
        Self {
            code,
            check: "",
            cause: Cause::Data,
            answer,
            brief: brief.into(),
            says: says.into(),
            next: None,
            page: None,
            app: None,
            evidence: Vec::new(),
            leaves_open: false,
            about: None,
        }
    }

    /// The evidence is here.
    pub fn found(code: &'static str, brief: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(code, Answer::Found, brief, says)
    }

    /// Something fits.
    pub fn hint(code: &'static str, brief: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(code, Answer::Hint, brief, says)
    }

    /// Nothing was found in `source`.
    pub fn nothing(code: &'static str, source: impl Into<String>) -> Self {
        let source = source.into();
        let says = format!("looked at: {source}");
        Self::new(code, Answer::NothingFound, source, says)
    }

    /// `what` was not looked at, and why.
    pub fn unseen(code: &'static str, what: impl Into<String>, why: impl AsRef<str>) -> Self {
        let what = what.into();
        let says = format!("{what}: {}", why.as_ref());
        Self::new(code, Answer::NotLookedAt, what, says)
    }

    /// No device can see it; `page` of Seller Center shows it.
    pub fn not_visible(code: &'static str, page: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(code, Answer::NotVisible, page, says)
    }

    /// Says what to do next.
    #[must_use]
    pub fn next(mut self, step: impl Into<String>) -> Self {
        self.next = Some(step.into());
        self
    }

    /// Says that nothing can be said of the cause without it.
    #[must_use]
    pub(super) fn leaves_open(mut self) -> Self {
        self.leaves_open = true;
        self
    }

    /// The words for a table.
    #[must_use]
    pub(super) fn in_short(mut self, brief: impl Into<String>) -> Self {
        self.brief = brief.into();
        self
    }

    /// Is about another cause than the check as a whole.
    #[must_use]
    pub(super) fn about(mut self, cause: Cause) -> Self {
        self.about = Some(cause);
        self
    }

    /// Names the page of the phone.
    #[must_use]
    pub fn on(mut self, page: Page) -> Self {
        self.page = Some(page);
        self
    }

    /// Names the app.
    #[must_use]
    pub fn of(mut self, app: &str) -> Self {
        self.app = Some(app.to_owned());
        self
    }

    /// Adds where it was seen.
    #[must_use]
    pub fn seen_in(mut self, evidence: impl Into<String>) -> Self {
        self.evidence.push(evidence.into());
        self
    }
}
