//! Whether the clock can be believed: a rule about ages is only as good as it.
//!
//! A device whose battery was empty starts in 1970, a computer may be set to
//! another year, and a file that was written meanwhile is dated so for ever.

use crate::model::day_and_time;

const SECOND: i128 = 1_000_000_000;
const DAY: i128 = 24 * 60 * 60 * SECOND;

/// 2026-01-01: before this program was written. No clock that is right says less.
const WRITTEN: i128 = 1_767_225_600 * SECOND;

/// 2007-01-01: before any of the apps, and their formats, existed.
const EARLIEST: i128 = 1_167_609_600 * SECOND;

/// A file of another time zone, or of a file system that keeps local time, may
/// be dated so much later than the clock says.
const SKEW: i128 = DAY;

/// No device in use has a newest file so old.
const FAR: i128 = 15 * 365 * DAY;

/// Whether a file or an entry can have been written at that time, in
/// nanoseconds since 1970; what is dated before may be of today.
#[must_use]
pub(crate) fn is_possible(ns: i128) -> bool {
    ns >= EARLIEST
}

/// Whether that time is later than the clock says, beyond what time zones do.
#[must_use]
pub(crate) fn is_future(ns: i128, now_ns: i128) -> bool {
    ns.saturating_sub(now_ns) > SKEW
}

/// Why the clock cannot be believed, if so, given when the newest file or run
/// that is known was written.
#[must_use]
pub(crate) fn doubt(now_ns: i128, newest_ns: Option<i128>) -> Option<String> {
    let now = day_and_time(now_ns);
    if now_ns < WRITTEN {
        return Some(format!("the clock says {now}, and this program was written later"));
    }
    let newest = newest_ns?;
    let at = day_and_time(newest);
    if is_future(newest, now_ns) {
        return Some(format!("the clock says {now}, and the newest file is of {at}"));
    }
    (now_ns.saturating_sub(newest) > FAR)
        .then(|| format!("the clock says {now}, and the newest file is of {at}, which is long ago"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A day of 2026.
    const NOW: i128 = 1_790_000_000 * SECOND;

    #[test]
    fn a_clock_that_is_right_is_believed() {
        for newest in [None, Some(NOW), Some(NOW - 400 * DAY), Some(NOW + SKEW / 2), Some(NOW - FAR / 2)] {
            assert_eq!(doubt(NOW, newest), None);
        }
    }

    #[test]
    fn a_clock_that_cannot_be_right_is_not() {
        assert!(doubt(0, None).is_some());
        assert!(doubt(WRITTEN - DAY, Some(WRITTEN - DAY)).is_some());
        assert!(doubt(NOW, Some(NOW + 3 * DAY)).is_some());
        assert!(doubt(NOW + 70 * 365 * DAY, Some(NOW)).is_some());
        assert!(doubt(i128::MAX, Some(i128::MIN)).is_some());
    }
}
