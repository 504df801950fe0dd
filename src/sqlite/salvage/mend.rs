//! Mending of schema text: the smallest change after which a statement can be
//! read and says what the rest of its row says.

use crate::ddl::{self, DdlError, Statement};
use crate::salvaged::ObjectKind;

/// The one of `words` that differs from `word` in at most two bytes of the same length.
#[must_use]
pub fn nearest_word<'a>(word: &str, words: &[&'a str]) -> Option<&'a str> {
    let distance = |w: &str| {
        let (a, b): (Vec<char>, Vec<char>) = (word.chars().collect(), w.chars().collect());
        if a.len() == b.len() { a.iter().zip(&b).filter(|(x, y)| x != y).count() } else { usize::MAX }
    };
    words.iter().map(|w| (distance(w), *w)).filter(|(d, _)| *d <= 2).min().map(|(_, w)| w)
}

/// Replaces the first whole occurrence of `from` in a statement by `to`.
#[must_use]
pub fn rename(sql: &str, from: &str, to: &str) -> String {
    sql.replacen(from, to, 1)
}

/// Words that stand in statements; a hurt word is first taken for one of these.
const WORDS: [&str; 44] = [
    "CREATE",
    "TABLE",
    "INDEX",
    "UNIQUE",
    "VIRTUAL",
    "VIEW",
    "TRIGGER",
    "USING",
    "ON",
    "WHERE",
    "AS",
    "PRIMARY",
    "KEY",
    "NOT",
    "NULL",
    "DEFAULT",
    "CHECK",
    "COLLATE",
    "REFERENCES",
    "FOREIGN",
    "CONSTRAINT",
    "AUTOINCREMENT",
    "WITHOUT",
    "ROWID",
    "STRICT",
    "INTEGER",
    "TEXT",
    "REAL",
    "BLOB",
    "NUMERIC",
    "VARCHAR",
    "DATETIME",
    "BOOLEAN",
    "GENERATED",
    "ALWAYS",
    "STORED",
    "ASC",
    "DESC",
    "CONFLICT",
    "CASCADE",
    "BINARY",
    "NOCASE",
    "INT",
    "DELETE",
];

/// How far before the place where the parser gave up the hurt one is looked
/// for, in characters: a bracket that opens by mistake shows at its end.
const REACH: usize = 160;

/// Characters that a hurt one is taken for, likelier ones first.
const CHARS: &str = " ,()_'\"`[]\nabcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.=<>-+*;/|!";

/// Longest statement that is mended, in bytes: every attempt reads it anew.
const MAX_LEN: usize = 8 << 10;
/// Most attempts for one statement.
const MAX_TRIES: usize = 20_000;

/// How many attempts all statements of a file may take together.
#[derive(Debug)]
pub struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(10 * MAX_TRIES)
    }
}

impl Budget {
    /// Runs `mend` with a count of its attempts, which it ends beyond [`MAX_TRIES`].
    fn spend<T>(&mut self, mend: impl FnOnce(&mut usize) -> T) -> T {
        let from = MAX_TRIES.saturating_sub(self.0);
        let mut tries = from;
        let out = mend(&mut tries);
        self.0 = self.0.saturating_sub(tries - from);
        out
    }
}

/// A statement near `sql` that can be read and names what its row names:
/// whole words put right first, then single characters, near the place where
/// the parser gave up. `None` when nothing near can be read.
#[must_use]
pub fn statement(
    sql: &str,
    kind: ObjectKind,
    name: &str,
    table: &str,
    budget: &mut Budget,
) -> Option<String> {
    budget.spend(|tries| near(sql, kind, name, table, tries))
}

fn near(sql: &str, kind: ObjectKind, name: &str, table: &str, tries: &mut usize) -> Option<String> {
    if sql.len() > MAX_LEN {
        return None;
    }
    let good = |text: &str| fits(text, kind, name, table).then(|| strangeness(text));
    let mut current: Vec<char> = sql.chars().collect();
    // A run of hurt bytes may take more than one step: each step must move the
    // parser's complaint further into the text.
    for _ in 0..8 {
        let text: String = current.iter().collect();
        let at = match ddl::parse(&text) {
            Ok(_) => break,
            Err(DdlError::TooLong) => return None,
            Err(DdlError::Syntax { at, .. }) => char_index(&text, at),
        };
        let mut best: Best = None;
        if words(&current, at, tries, &good, &mut best) || single(&current, at, tries, &good, &mut best) {
            return best.map(|(_, text)| text);
        }
        if let Some((_, text)) = best {
            return Some(text);
        }
        // No single step mends it: take the word change that gets the parser furthest.
        let (further, to) = furthest(&current, at, tries)?;
        if to <= at {
            return None;
        }
        current = further;
    }
    let text: String = current.iter().collect();
    good(&text).is_some().then_some(text)
}

/// Readings of a table's statement after which its rows have `fields` fields,
/// each one character away from `sql`, whose own columns are more or fewer: a
/// hurt comma makes one column of two, a comma in the place of a letter two of
/// one. Those in which the least is strange, and less than before unless the
/// rows are wider; where a character cannot stand in a statement, only it is
/// taken for the hurt one.
#[must_use]
pub fn with_fields(sql: &str, name: &str, fields: usize, budget: &mut Budget) -> Vec<(String, ddl::Table)> {
    budget.spend(|tries| commas(sql, name, fields, tries))
}

fn commas(sql: &str, name: &str, fields: usize, tries: &mut usize) -> Vec<(String, ddl::Table)> {
    let Ok(Statement::Table(now)) = ddl::parse(sql) else { return Vec::new() };
    let columns = now.record_layout().len();
    let mut most = strangeness(sql);
    if sql.len() > MAX_LEN || columns == fields || (columns > fields && most == 0) {
        return Vec::new();
    }
    if columns > fields {
        most -= 1;
    }
    let text: Vec<char> = sql.chars().collect();
    let odd: Vec<usize> = (0..text.len()).filter(|i| text.get(*i).is_some_and(|c| is_odd(*c))).collect();
    let places = if odd.is_empty() { (0..text.len()).collect() } else { odd };
    let mut out: Vec<(String, ddl::Table)> = Vec::new();
    let mut new = text.clone();
    for i in places {
        let Some(old) = text.get(i).copied() else { continue };
        if columns > fields && old != ',' {
            continue;
        }
        for c in CHARS.chars().filter(|c| *c != old && (columns > fields || *c == ',')) {
            *tries += 1;
            if *tries > MAX_TRIES {
                return out;
            }
            if let Some(slot) = new.get_mut(i) {
                *slot = c;
            }
            let made: String = new.iter().collect();
            let Ok(Statement::Table(table)) = ddl::parse(&made) else { continue };
            let strange = strangeness(&made);
            let fits = table.name.eq_ignore_ascii_case(name)
                && table.record_layout().len() == fields
                && known_types(&table)
                && strange <= most;
            if !fits {
                continue;
            }
            if strange < most {
                most = strange;
                out.clear();
            }
            // Types are one in any case of letters; the case that a word has stays.
            let known = out.iter_mut().find(|(_, t)| in_one_case(t) == in_one_case(&table));
            match known {
                Some(known) if is_mixed(&known.1) && !is_mixed(&table) => *known = (made, table),
                Some(_) => {}
                None => out.push((made, table)),
            }
        }
        if let Some(slot) = new.get_mut(i) {
            *slot = old;
        }
    }
    out
}

/// A table whose types are all in upper case.
fn in_one_case(table: &ddl::Table) -> ddl::Table {
    let mut out = table.clone();
    out.columns.iter_mut().for_each(|c| c.declared_type.make_ascii_uppercase());
    out
}

/// Whether a type of the table has letters of both cases in one word.
fn is_mixed(table: &ddl::Table) -> bool {
    let both =
        |w: &str| w.bytes().any(|b| b.is_ascii_lowercase()) && w.bytes().any(|b| b.is_ascii_uppercase());
    table.columns.iter().any(|c| c.declared_type.split_whitespace().any(both))
}

/// Whether a character cannot stand in a statement that a program wrote.
fn is_odd(c: char) -> bool {
    !CHARS.contains(c) && c != '\t' && c != '\r' && !c.is_alphanumeric()
}

/// The least strange reading so far, and how strange it is.
type Best = Option<(usize, String)>;

/// Keeps a reading that is less strange than the best; `true` when nothing of it is strange.
fn keep(best: &mut Best, strange: Option<usize>, text: String) -> bool {
    let Some(strange) = strange else { return false };
    if best.as_ref().is_none_or(|(least, _)| strange < *least) {
        *best = Some((strange, text));
    }
    strange == 0
}

/// How many words of a table's column types are none that anybody writes: a
/// hurt type still parses, for SQLite takes any word for one.
fn strangeness(text: &str) -> usize {
    let Ok(Statement::Table(table)) = ddl::parse(text) else { return 0 };
    let words = table.columns.iter().flat_map(|c| c.declared_type.split(|c: char| !c.is_alphanumeric()));
    let strange = |w: &&str| {
        !w.is_empty()
            && !w.bytes().all(|b| b.is_ascii_digit())
            && !TYPES.iter().any(|t| t.eq_ignore_ascii_case(w))
    };
    words.filter(strange).count()
}

/// Words of column types in use.
const TYPES: [&str; 42] = [
    "INTEGER",
    "INT",
    "TEXT",
    "REAL",
    "BLOB",
    "NUMERIC",
    "VARCHAR",
    "CHAR",
    "DATETIME",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "BOOLEAN",
    "BOOL",
    "BIGINT",
    "SMALLINT",
    "TINYINT",
    "MEDIUMINT",
    "INT2",
    "INT4",
    "INT8",
    "DOUBLE",
    "PRECISION",
    "FLOAT",
    "DECIMAL",
    "NUMBER",
    "LONG",
    "STRING",
    "ANY",
    "CLOB",
    "NVARCHAR",
    "NCHAR",
    "LONGVARCHAR",
    "LONGTEXT",
    "UNSIGNED",
    "BIG",
    "CHARACTER",
    "VARYING",
    "NATIVE",
    "JSON",
    "UUID",
    "GUID",
];

/// Whether a text can be read and says what its row says.
fn fits(text: &str, kind: ObjectKind, name: &str, table: &str) -> bool {
    let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    match ddl::parse(text) {
        Ok(Statement::Table(t)) => {
            kind == ObjectKind::Table && (same(&t.name, name) || same(&t.name, table)) && known_types(&t)
        }
        Ok(Statement::VirtualTable(t)) => kind == ObjectKind::Table && same(&t.name, name),
        Ok(Statement::Index(i)) => kind == ObjectKind::Index && same(&i.table, table) && same(&i.name, name),
        Ok(Statement::View(v)) => kind == ObjectKind::View && same(&v.name, name),
        Ok(Statement::Trigger(t)) => kind == ObjectKind::Trigger && same(&t.name, name),
        Err(_) => false,
    }
}

/// A mended table whose constraint word became part of a type is no mend, nor
/// is one that SQLite would refuse.
fn known_types(table: &ddl::Table) -> bool {
    let strict = ["INT", "INTEGER", "REAL", "TEXT", "BLOB", "ANY"];
    table.columns.iter().all(|c| {
        c.declared_type.split_whitespace().count() <= 3
            && (!table.strict || strict.iter().any(|t| t.eq_ignore_ascii_case(&c.declared_type)))
    })
        // SQLite lets only a rowid count up.
        && (!table.autoincrement || table.rowid_alias.is_some())
}

fn char_index(text: &str, byte: usize) -> usize {
    text.char_indices().take_while(|(i, _)| *i < byte).count()
}

/// The words around a place: start and end in characters.
fn near_words(text: &[char], at: usize) -> Vec<(usize, usize)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || !c.is_ascii() || c.is_ascii_control();
    // Runs without any blank hide hurt characters: also take everything between blanks.
    let between_blanks = |c: char| !c.is_ascii_whitespace() && !matches!(c, '(' | ')' | ',');
    // A hurt character may itself part a word.
    let between_commas = |c: char| !c.is_ascii_whitespace() && c != ',';
    let mut words = near_runs(text, at, is_word);
    words.extend(near_runs(text, at, between_blanks));
    words.extend(near_runs(text, at, between_commas));
    words.sort_by_key(|(a, b)| (at.abs_diff(*a).min(at.abs_diff(*b)), *a));
    words.dedup();
    words
}

/// The runs of such characters around a place: start and end in characters.
fn near_runs(text: &[char], at: usize, of: impl Fn(char) -> bool) -> Vec<(usize, usize)> {
    let mut runs = Vec::new();
    let mut i = at.saturating_sub(REACH);
    while i < text.len() && i <= at + 24 {
        let start = i;
        while text.get(i).is_some_and(|c| of(*c)) {
            i += 1;
        }
        if i > start {
            runs.push((start, i));
        } else {
            i += 1;
        }
    }
    runs
}

/// Replacements of one hurt word by the keywords that it is near to.
fn replacements(text: &[char], from: usize, to: usize) -> Vec<Vec<char>> {
    let word: Vec<char> = text.get(from..to).unwrap_or_default().to_vec();
    let lower = word.iter().any(char::is_ascii_lowercase) && !word.iter().any(char::is_ascii_uppercase);
    let mut out: Vec<(usize, Vec<char>)> = Vec::new();
    for keyword in WORDS {
        if keyword.len() != word.len() {
            continue;
        }
        let differ = keyword.chars().zip(&word).filter(|(k, w)| !k.eq_ignore_ascii_case(w)).count();
        if differ == 0 || differ > (keyword.len() / 3).max(1) {
            continue;
        }
        let mut new = text.get(..from).unwrap_or_default().to_vec();
        new.extend(keyword.chars().map(|c| if lower { c.to_ascii_lowercase() } else { c }));
        new.extend_from_slice(text.get(to..).unwrap_or_default());
        out.push((differ, new));
    }
    out.sort_by_key(|(d, _)| *d);
    out.into_iter().map(|(_, t)| t).collect()
}

/// Says how strange a reading is, `None` when it does not fit.
type Good<'a> = dyn Fn(&str) -> Option<usize> + 'a;

/// Tries to put whole words right; `true` when a reading without anything
/// strange was found.
fn words(text: &[char], at: usize, tries: &mut usize, good: &Good<'_>, best: &mut Best) -> bool {
    for (from, to) in near_words(text, at) {
        for new in replacements(text, from, to) {
            *tries += 1;
            if *tries > MAX_TRIES {
                return false;
            }
            let s: String = new.iter().collect();
            if keep(best, good(&s), s) {
                return true;
            }
        }
    }
    false
}

/// Tries to put single characters right; `true` as for [`words`].
fn single(text: &[char], at: usize, tries: &mut usize, good: &Good<'_>, best: &mut Best) -> bool {
    let mut places: Vec<usize> = (at.saturating_sub(REACH)..(at + 8).min(text.len())).collect();
    // What cannot stand in a statement is hurt for certain.
    let odd = |i: &usize| text.get(*i).is_some_and(|c| !CHARS.contains(*c) && *c != '\t' && *c != '\r');
    places.sort_by_key(|i| (!odd(i), at.abs_diff(*i)));
    let mut new = text.to_vec();
    for i in places {
        let Some(old) = text.get(i).copied() else { continue };
        for c in CHARS.chars().filter(|c| *c != old) {
            *tries += 1;
            if *tries > MAX_TRIES {
                return false;
            }
            if let Some(slot) = new.get_mut(i) {
                *slot = c;
            }
            let s: String = new.iter().collect();
            if keep(best, good(&s), s) {
                return true;
            }
        }
        if let Some(slot) = new.get_mut(i) {
            *slot = old;
        }
    }
    false
}

/// The word change after which the parser gets furthest.
fn furthest(text: &[char], at: usize, tries: &mut usize) -> Option<(Vec<char>, usize)> {
    let mut best: Option<(Vec<char>, usize)> = None;
    for (from, to) in near_words(text, at) {
        for new in replacements(text, from, to) {
            *tries += 1;
            if *tries > MAX_TRIES {
                return best;
            }
            let s: String = new.iter().collect();
            let reach = match ddl::parse(&s) {
                Ok(_) => usize::MAX,
                Err(DdlError::Syntax { at, .. }) => char_index(&s, at),
                Err(DdlError::TooLong) => 0,
            };
            if best.as_ref().is_none_or(|(_, b)| reach > *b) {
                best = Some((new, reach));
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SQL: &str = "CREATE TABLE msgs(id INTEGER PRIMARY KEY, body TEXT NOT NULL, at INT DEFAULT 0)";

    #[test]
    fn hurt_keywords_are_put_right() {
        for (from, to) in
            [("CREATE", "CRE\u{1}TE"), ("TABLE", "TABME"), ("PRIMARY", "PRIM\u{fffd}RY"), ("(id", "hid")]
        {
            let hurt = SQL.replacen(from, to, 1);
            let mended = statement(&hurt, ObjectKind::Table, "msgs", "msgs", &mut Budget::default());
            let parsed = mended.as_deref().map(ddl::parse);
            let Some(Ok(Statement::Table(t))) = parsed else { panic!("{hurt}: {mended:?}") };
            assert_eq!(t.columns.len(), 3, "{mended:?}");
        }
        assert_eq!(
            statement("nothing of the kind", ObjectKind::Table, "t", "t", &mut Budget::default()),
            None
        );
    }

    #[test]
    fn columns_that_became_one_are_parted_again() {
        let read = |hurt: &str, fields| -> Vec<String> {
            with_fields(hurt, "typed", fields, &mut Budget::default())
                .into_iter()
                .map(|(sql, _)| sql)
                .collect()
        };
        let sound = "CREATE TABLE typed(a INTEGER NOT NULL, b TEXT, c REAL, d ANY) STRICT";
        for hurt in ["REAL\u{202c} d", "REALz d", "REAL  d"] {
            let hurt = sound.replacen("REAL, d", hurt, 1);
            let out = read(&hurt, 4);
            assert_eq!(out.len(), 1, "{hurt}: {out:?}");
            let Ok(Statement::Table(t)) = ddl::parse(&out[0]) else { panic!("{out:?}") };
            let types: Vec<&str> = t.columns.iter().map(|c| c.declared_type.as_str()).collect();
            assert_eq!(types, ["INTEGER", "TEXT", "REAL", "ANY"]);
        }
        assert_eq!(read(&sound.replacen("b TEXT", "b T,XT", 1), 4), [sound]);
        assert_eq!(read(sound, 3), [] as [String; 0], "rows from before a column are short");
        assert_eq!(read(sound, 4), [] as [String; 0]);
    }

    #[test]
    fn attempts_come_to_an_end_over_all_statements() {
        let mut budget = Budget::default();
        let hurt = SQL.replacen("TABLE", "TABME", 1);
        let mend = |budget: &mut Budget| statement(&hurt, ObjectKind::Table, "msgs", "msgs", budget);
        assert!(mend(&mut budget).is_some());
        let hopeless = "CREATE TABLE msgs(((((((((((((a INT".repeat(3);
        for _ in 0..200 {
            assert_eq!(statement(&hopeless, ObjectKind::Table, "msgs", "msgs", &mut budget), None);
        }
        assert_eq!(budget.0, 0);
        assert_eq!(mend(&mut budget), None);
    }

    #[test]
    fn words_are_near_or_not() {
        assert_eq!(nearest_word("tab\u{1}e", &["table", "index"]), Some("table"));
        assert_eq!(nearest_word("xyzzy", &["table", "index"]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
        #[test]
        fn any_hurt_statement_ends(at in 0_usize..SQL.len(), byte in 0_u8..128) {
            let mut hurt = SQL.as_bytes().to_vec();
            hurt[at] = byte;
            let hurt = String::from_utf8(hurt).unwrap();
            let _ = statement(&hurt, ObjectKind::Table, "msgs", "msgs", &mut Budget::default());
        }
    }
}
