//! What the expressions of a schema from outside may cost.
//!
//! CHECK constraints, generated columns and the expressions of indexes are
//! code that SQLite runs for every row. One call can fill gigabytes
//! (`hex(zeroblob(400000000))`) or compare for hours (`instr`), and SQLite
//! looks at the clock only between two steps. So values have a longest length
//! while such code may run, and every statement that runs it has a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode};

use crate::control::Control;

/// What the values that a statement holds at once may take together. A chain
/// of generated columns holds one for each column.
const MEMORY: usize = 160 << 20;
/// Values that SQLite holds besides one for each column.
const BESIDES: usize = 16;
/// A value may always be as long as this: 2,000 columns, the most that a table
/// can have, stay within [`MEMORY`] and a little.
const LEAST_LENGTH: usize = 64 << 10;
/// As long as a value may be for functions whose time grows with the product
/// of two lengths: a tenth of a second each.
const PRODUCT_LENGTH: usize = 64 << 10;
/// The longest value that SQLite itself allows.
pub(crate) const ANY_LENGTH: usize = 1_000_000_000;

/// As long as the program of a statement about one table may be. A column that
/// is computed from another one twice doubles with each step.
pub(crate) const STEPS_OF_ONE_TABLE: i32 = 250_000;
/// By how much the program of a check of all tables is longer: for each
/// statement of the schema, and for each column.
const STEPS_EACH: (usize, usize) = (512, 64);

/// Functions and operators that compare at every position of a value.
const PRODUCTS: [&str; 8] = ["INSTR", "REPLACE", "TRIM", "LTRIM", "RTRIM", "LIKE", "GLOB", "MATCH"];

/// The time that SQLite may take over a database of so many bytes: enough for
/// a slow disk, and an end for what was made to have none.
pub(crate) fn time_for(bytes: u64) -> Duration {
    Duration::from_secs(3) + Duration::from_micros(bytes / 3)
}

/// When the statements of a connection have to end; `None` is never.
#[derive(Debug, Clone)]
pub(crate) struct Timer {
    since: Instant,
    /// Milliseconds after `since`.
    ends: Arc<AtomicU64>,
}

impl Timer {
    pub(crate) fn new(time: Option<Duration>) -> Self {
        let out = Self { since: Instant::now(), ends: Arc::default() };
        out.allow(time);
        out
    }

    /// So much time from now on.
    pub(crate) fn allow(&self, time: Option<Duration>) {
        let ends = time
            .map_or(u64::MAX, |t| u64::try_from((self.since.elapsed() + t).as_millis()).unwrap_or(u64::MAX));
        self.ends.store(ends, Ordering::Relaxed);
    }

    /// Whether it has passed.
    pub(crate) fn is_over(&self) -> bool {
        let ends = self.ends.load(Ordering::Relaxed);
        ends != u64::MAX && self.since.elapsed().as_millis() >= u128::from(ends)
    }
}

/// The longest value that may appear while SQLite runs the expressions of
/// these statements.
pub(crate) fn longest<'a>(statements: impl IntoIterator<Item = &'a str>) -> usize {
    let bound = |sql: &str| {
        let words = || sql.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty());
        let is = |word: &str, of: &[&str]| of.iter().any(|o| word.eq_ignore_ascii_case(o));
        let index = words().take(3).any(|w| is(w, &["INDEX"]));
        let runs = words().any(|w| is(w, &["CHECK", "AS", "WHERE"])) || index && sql.matches('(').count() > 1;
        if !runs {
            return ANY_LENGTH;
        }
        let columns = sql.matches(',').count() + 1;
        let length = (MEMORY / (columns + BESIDES)).max(LEAST_LENGTH);
        if words().any(|w| is(w, &PRODUCTS)) { length.min(PRODUCT_LENGTH) } else { length }
    };
    statements.into_iter().map(bound).min().unwrap_or(ANY_LENGTH)
}

/// Lets no value of a connection be longer than that.
///
/// # Errors
/// SQLite's own.
pub(crate) fn limit(db: &Connection, length: usize) -> rusqlite::Result<()> {
    db.set_limit(Limit::SQLITE_LIMIT_LENGTH, i32::try_from(length).unwrap_or(i32::MAX)).map(|_| ())
}

/// Lets a private copy evaluate its own schema only within bounds. A schema
/// that cannot be read has no expression that could run.
///
/// # Errors
/// SQLite's own, of the limit.
pub(crate) fn limit_by_schema(db: &Connection) -> rusqlite::Result<()> {
    let texts = || -> rusqlite::Result<Vec<String>> {
        let mut all = db.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")?;
        all.query_map([], |r| Ok(r.get_ref(0)?.as_bytes().map(String::from_utf8_lossy)?.into_owned()))?
            .collect()
    };
    let texts = texts().unwrap_or_default();
    let columns: usize = texts.iter().map(|t| t.matches(',').count() + 1).sum();
    let more = texts.len() * STEPS_EACH.0 + columns * STEPS_EACH.1;
    let steps = i32::try_from(more).unwrap_or(i32::MAX).saturating_add(STEPS_OF_ONE_TABLE);
    db.set_limit(Limit::SQLITE_LIMIT_VDBE_OP, steps)?;
    limit(db, longest(texts.iter().map(String::as_str)))
}

/// Why an expression is not evaluated, when an error says that it costs more
/// than it may.
pub(crate) fn exceeded(error: &rusqlite::Error, control: &Control) -> Option<&'static str> {
    match error.sqlite_error_code()? {
        ErrorCode::OperationInterrupted if !control.is_cancelled() => {
            Some("its expressions take more time than they may")
        }
        ErrorCode::TooBig => Some("its expressions make longer values than they may"),
        ErrorCode::OutOfMemory => Some("its expressions take more memory than they may"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_runs_expressions_bounds_values() {
        let of = |sql: &str| longest([sql]);
        for plain in [
            "CREATE TABLE t(a TEXT, last_instr)",
            "CREATE INDEX i ON t(a, b)",
            "CREATE TABLE t(a DEFAULT (1), b REFERENCES u(x))",
        ] {
            assert_eq!(of(plain), ANY_LENGTH, "{plain}");
        }
        assert_eq!(of("CREATE TABLE t(a CHECK(instr(a,'x')))"), PRODUCT_LENGTH);
        let check = of("CREATE TABLE t(a CHECK(a>0))");
        assert!(check > 1 << 20 && check < ANY_LENGTH);
        assert!(of("CREATE UNIQUE INDEX i ON t(lower(a))") < ANY_LENGTH);
        assert!(of("CREATE INDEX i ON t(a) WHERE b") < ANY_LENGTH);
        let columns: Vec<String> = (1..2000).map(|i| format!("c{i} AS (c{})", i - 1)).collect();
        assert!(of(&format!("CREATE TABLE t(c0,{})", columns.join(","))) < 2 * LEAST_LENGTH);
    }

    #[test]
    fn a_timer_can_be_set_again() {
        let timer = Timer::new(None);
        assert!(!timer.is_over());
        timer.allow(Some(Duration::ZERO));
        assert!(timer.is_over());
        timer.allow(Some(Duration::from_hours(1)));
        assert!(!timer.is_over());
    }
}
