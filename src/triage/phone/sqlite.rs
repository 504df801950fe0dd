//! The texts with which Android's SQLite reports what is wrong with a database.
//! They alone are taken from an answer; what stands around them is dropped.

/// What SQLite reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Harm {
    /// The database is damaged (`SQLITE_CORRUPT`, `SQLITE_NOTADB`).
    Corrupt,
    /// There is no room (`SQLITE_FULL`).
    Full,
    /// The storage fails (`SQLITE_IOERR`).
    Io,
}

/// The harm that a code of SQLite means; extended codes keep the plain one in
/// their lowest byte.
fn of_code(code: u32) -> Option<Harm> {
    match code & 0xff {
        11 | 26 => Some(Harm::Corrupt),
        13 => Some(Harm::Full),
        10 => Some(Harm::Io),
        _ => None,
    }
}

/// The texts of exceptions with what they mean.
const TEXTS: &[(&str, Harm)] = &[
    ("database disk image is malformed (code ", Harm::Corrupt),
    ("file is not a database (code ", Harm::Corrupt),
    ("file is encrypted or is not a database (code ", Harm::Corrupt),
    ("database or disk is full (code ", Harm::Full),
    ("disk I/O error (code ", Harm::Io),
];

/// The classes of exceptions with what they mean, where the text is missing.
const CLASSES: &[(&str, Harm)] = &[
    ("android.database.sqlite.SQLiteDatabaseCorruptException", Harm::Corrupt),
    ("android.database.sqlite.SQLiteFullException", Harm::Full),
    ("android.database.sqlite.SQLiteDiskIOException", Harm::Io),
];

/// What an exception's text says, when it is one of SQLite's.
#[must_use]
pub fn harm_of(text: &str) -> Option<Harm> {
    for (start, harm) in TEXTS {
        if let Some((_, rest)) = text.split_once(start) {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).take(9).collect();
            // The number is authoritative: the same text appears with extended codes.
            return digits.parse().ok().and_then(of_code).or(Some(*harm));
        }
    }
    CLASSES.iter().find(|(class, _)| text.contains(class)).map(|(_, harm)| *harm)
}

/// What a line of the tag `SQLiteLog` says: `(11) database corruption at ...`.
pub(super) fn harm_of_log(message: &str) -> Option<Harm> {
    let code = message.trim_start().strip_prefix('(')?.split(')').next()?;
    of_code(code.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_texts_of_sqlite_count() {
        let corrupt = "x: database disk image is malformed (code 11 SQLITE_CORRUPT)";
        assert_eq!(harm_of(corrupt), Some(Harm::Corrupt));
        assert_eq!(harm_of("database disk image is malformed (code 779)"), Some(Harm::Corrupt));
        assert_eq!(harm_of("disk I/O error (code 1802 SQLITE_IOERR_FSTAT)"), Some(Harm::Io));
        assert_eq!(harm_of("android.database.sqlite.SQLiteFullException: x"), Some(Harm::Full));
        assert_eq!(harm_of("my database is corrupt, code 11"), None);
        assert_eq!(harm_of_log("(11) database corruption at line 72932"), Some(Harm::Corrupt));
        assert_eq!(harm_of_log("(283) recovered 12 frames from WAL file"), None);
        assert_eq!(harm_of_log("(1) no such table: x"), None);
    }
}
