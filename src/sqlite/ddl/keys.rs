//! The keys of a table: the terms that make them up, and what only all of
//! them together tell, such as the rowid alias and the automatic indexes.

use super::lex::{Kind, Token, unquote};
use super::parse::Source;
use super::{Affinity, AutoIndex, KeyColumn, KeySource, Table, bind_key, same_key};

/// A PRIMARY KEY or UNIQUE constraint, in the order of the text.
pub(super) struct KeyConstraint {
    pub(super) columns: Vec<KeyColumn>,
    pub(super) primary: bool,
    /// Written at the column, with DESC.
    pub(super) column_desc: bool,
}

/// The members of `expr [COLLATE c] [ASC|DESC] [NULLS FIRST|LAST], ...`.
pub(super) fn sort_list(src: Source<'_>, tokens: &[Token]) -> Vec<KeyColumn> {
    let mut out = Vec::new();
    let mut depth = 0_usize;
    let mut start = 0;
    for (i, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Mark(b'(') => depth += 1,
            Kind::Mark(b')') => depth = depth.saturating_sub(1),
            Kind::Mark(b',') if depth == 0 => {
                out.push(sort_term(src, tokens.get(start..i).unwrap_or(&[])));
                start = i + 1;
            }
            _ => {}
        }
    }
    if start < tokens.len() {
        out.push(sort_term(src, tokens.get(start..).unwrap_or(&[])));
    }
    out
}

fn sort_term(src: Source<'_>, mut tokens: &[Token]) -> KeyColumn {
    let mut desc = false;
    if let [head @ .., nulls, which] = tokens
        && src.is_word(*nulls, "nulls")
        && (src.is_word(*which, "first") || src.is_word(*which, "last"))
    {
        tokens = head;
    }
    if let [head @ .., last] = tokens
        && !head.is_empty()
        && (src.is_word(*last, "asc") || src.is_word(*last, "desc"))
    {
        desc = src.is_word(*last, "desc");
        tokens = head;
    }
    let mut collation = None;
    // The outermost COLLATE counts; parentheses mean nothing.
    loop {
        if let [head @ .., word, name] = tokens
            && !head.is_empty()
            && src.is_word(*word, "collate")
            && matches!(name.kind, Kind::Word | Kind::DoubleQuoted | Kind::Bracketed | Kind::Text)
        {
            collation.get_or_insert_with(|| unquote(src.text(*name)));
            tokens = head;
        } else if let [first, inner @ .., last] = tokens
            && first.kind == Kind::Mark(b'(')
            && last.kind == Kind::Mark(b')')
            && encloses(inner)
        {
            tokens = inner;
        } else {
            break;
        }
    }
    let source = match tokens {
        [one] if matches!(one.kind, Kind::Word | Kind::DoubleQuoted | Kind::Bracketed | Kind::Text) => {
            KeySource::Name(unquote(src.text(*one)))
        }
        _ => KeySource::Expression(src.span(tokens).to_owned()),
    };
    KeyColumn { source, collation, desc }
}

/// Whether the parentheses around `inner` belong together.
fn encloses(inner: &[Token]) -> bool {
    let mut depth = 0_usize;
    for token in inner {
        match token.kind {
            Kind::Mark(b'(') => depth += 1,
            Kind::Mark(b')') if depth == 0 => return false,
            Kind::Mark(b')') => depth -= 1,
            _ => {}
        }
    }
    depth == 0
}

/// What only the whole statement tells: rowid alias, implied NOT NULL,
/// automatic indexes and their numbers.
pub(super) fn finish(t: &mut Table, keys: Vec<KeyConstraint>) {
    if t.strict {
        for c in &mut t.columns {
            if c.declared_type.eq_ignore_ascii_case("any") {
                c.affinity = Affinity::None;
            }
        }
    }
    let mut made: Vec<(Vec<KeyColumn>, bool)> = Vec::new();
    let mut late = None;
    for mut key in keys {
        for k in &mut key.columns {
            bind_key(k, t);
        }
        if key.primary {
            t.primary_key.clone_from(&key.columns);
            if let [only] = key.columns.as_slice()
                && let KeySource::Column(c) = only.source
                && let Some(column) = t.columns.get(c)
                && column.declared_type.eq_ignore_ascii_case("integer")
                && !key.column_desc
            {
                // First taken for a rowid alias; WITHOUT ROWID then makes it a
                // key after all others, under the column's own collation.
                let mut own = KeyColumn {
                    source: KeySource::Name(column.name.clone()),
                    collation: None,
                    desc: only.desc,
                };
                bind_key(&mut own, t);
                late = Some(own);
                t.rowid_alias = Some(c);
                continue;
            }
        }
        add_key(t, &mut made, key.columns, key.primary);
    }
    if let (true, Some(own)) = (t.without_rowid, late) {
        t.primary_key = vec![own.clone()];
        add_key(t, &mut made, vec![own], true);
    }
    if t.without_rowid {
        t.rowid_alias = None;
    }
    if t.without_rowid || t.strict {
        for key in &t.primary_key {
            if let KeySource::Column(c) = key.source
                && t.rowid_alias != Some(c)
                && let Some(column) = t.columns.get_mut(c)
            {
                column.not_null = true;
            }
        }
    }
    for (i, (columns, primary_key)) in made.into_iter().enumerate() {
        if primary_key && t.without_rowid {
            continue;
        }
        let name = format!("sqlite_autoindex_{}_{}", t.name, i + 1);
        t.auto_indexes.push(AutoIndex { name, columns, primary_key });
    }
}

/// The same columns under the same collations need no second index.
fn add_key(t: &mut Table, made: &mut Vec<(Vec<KeyColumn>, bool)>, columns: Vec<KeyColumn>, primary: bool) {
    let twin = made.iter_mut().find(|(other, _)| {
        other.len() == columns.len() && other.iter().zip(&columns).all(|(a, b)| same_key(a, b))
    });
    match twin {
        Some((other, is_primary)) if primary => {
            *is_primary = true;
            t.primary_key.clone_from(other);
        }
        Some(_) => {}
        None => made.push((columns, primary)),
    }
}
