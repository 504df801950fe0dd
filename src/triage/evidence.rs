//! What was gathered before anything is judged. Checks read this and nothing
//! else, so that each can be tested from evidence that was made up.

use super::machine::{Browser, Machine};
use super::online::Online;
use super::phone::Phone;
use super::stores::Stores;

/// What kind of place the evidence is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The computer that this program runs on.
    #[default]
    Computer,
    /// A mounted disk or a copied tree.
    Image,
    /// An Android device.
    Phone,
}

/// Why something was not seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unseen {
    /// This kind of place does not provide it.
    NotAsked,
    /// The right to see it is missing.
    Refused,
    /// This system does not have it.
    Absent,
    /// The answer did not come in time.
    TimedOut,
    /// The answer has no form that is known.
    Unknown,
}

impl Unseen {
    /// Why, for a person.
    #[must_use]
    pub fn why(self) -> &'static str {
        match self {
            Self::NotAsked => "it was not asked for",
            Self::Refused => "the system refused",
            Self::Absent => "this system does not have it",
            Self::TimedOut => "no answer came in time",
            Self::Unknown => "the answer has no known form",
        }
    }
}

/// Something that was seen, or why it was not.
pub type Seen<T> = Result<T, Unseen>;

/// Everything that was gathered.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    pub kind: Kind,
    /// The present, in nanoseconds since 1970.
    pub now_ns: i128,
    /// The market that the person says the account belongs to: `US`.
    pub region: Option<String>,
    /// The options that name the place to another command, without a serial number
    /// or a path.
    pub options: String,
    pub phone: Option<Phone>,
    pub machine: Option<Machine>,
    pub browsers: Vec<Browser>,
    /// Whether the private data of an app that is looked at is out of reach.
    pub closed: bool,
    /// What the network answered; none when it was not asked.
    pub online: Option<Online>,
    /// What a scan of the place found; none when it could not be done.
    pub stores: Option<Stores>,
}
