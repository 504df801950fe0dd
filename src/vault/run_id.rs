//! Names of runs: sortable, and never the same twice in a state folder.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `20261122T041500-ab12`: when the run began, in UTC, and four hex digits.
/// The order of names is the order of runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

/// Text that is no [`RunId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a run (like 20261122T041500-ab12): {}", crate::fsys::printable(.0))]
pub struct BadRunId(pub String);

impl RunId {
    /// The name for a run that begins now, later than all of `existing`.
    #[must_use]
    pub fn next(existing: &[Self]) -> Self {
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S").to_string();
        Self::after(&now, existing.iter().max())
    }

    fn after(now: &str, newest: Option<&Self>) -> Self {
        let Some((second, suffix)) = newest.and_then(|r| r.0.split_once('-')) else {
            return Self(format!("{now}-{:04x}", start()));
        };
        if now > second {
            return Self(format!("{now}-{:04x}", start()));
        }
        // Two runs in one second, or a clock that was set back.
        match u16::from_str_radix(suffix, 16).ok().and_then(|s| s.checked_add(1)) {
            Some(next) => Self(format!("{second}-{next:04x}")),
            None => Self(format!("{}-{:04x}", bump(second), start())),
        }
    }

    /// The name as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where the digits start: anywhere in the lower half, so that names of two
/// state folders differ and there is room to count on.
fn start() -> u16 {
    use std::hash::{BuildHasher as _, RandomState};
    (RandomState::new().hash_one(std::process::id()) & 0x7fff) as u16
}

/// The next greater text of the same shape.
fn bump(second: &str) -> String {
    let digits: String = second.chars().filter(char::is_ascii_digit).collect();
    let next = digits.parse::<u64>().unwrap_or(0).saturating_add(1);
    let next = format!("{next:014}");
    let (day, time) = next.split_at_checked(8).unwrap_or((&next, ""));
    format!("{day}T{time}")
}

impl FromStr for RunId {
    type Err = BadRunId;

    fn from_str(text: &str) -> Result<Self, BadRunId> {
        let shape = "ddddddddTdddddd-xxxx";
        let fits = text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(b, s)| match s {
                b'd' => b.is_ascii_digit(),
                b'x' => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
                other => b == other,
            });
        if fits { Ok(Self(text.to_owned())) } else { Err(BadRunId(text.to_owned())) }
    }
}

impl TryFrom<String> for RunId {
    type Error = BadRunId;

    fn try_from(text: String) -> Result<Self, BadRunId> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_later_than_the_one_before() {
        let mut all = vec![RunId::next(&[])];
        for _ in 0..100 {
            let next = RunId::next(&all);
            assert!(next > *all.last().unwrap());
            assert_eq!(next.as_str().parse(), Ok(next.clone()));
            all.push(next);
        }
        let full = RunId("20261122T235959-ffff".into());
        let next = RunId::after("20261122T235959", Some(&full));
        assert!(next > full);
        assert_eq!(next.as_str().parse(), Ok(next.clone()));
        let back = RunId::after("20250101T000000", Some(&full));
        assert!(back > full, "a clock set back");
    }

    #[test]
    fn only_names_of_runs_are_taken() {
        for bad in ["", "..", "20261122T041500", "20261122T041500-AB12", "20261122T041500-ab1/", "x"] {
            assert!(bad.parse::<RunId>().is_err(), "{bad}");
        }
        assert!("20261122T041500-ab12".parse::<RunId>().is_ok());
    }
}
