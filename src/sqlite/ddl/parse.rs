//! The parser of `CREATE` statements.

use super::expr;
use super::keys::{KeyConstraint, finish, sort_list};
use super::lex::{self, Kind, Token, unquote};
use super::{
    Affinity, Column, DefaultValue, ForeignKey, Generated, Index, KeyColumn, KeySource, Statement, Table,
    Trigger, View, VirtualTable, bind_key,
};
use crate::salvaged::Value;

/// Most tokens of a statement: far more than 2,000 columns need, the most that
/// SQLite takes. A long text or comment is one.
const MAX_TOKENS: usize = 1 << 20;
/// Most columns of a table or index; SQLite's own highest limit.
const MAX_COLUMNS: usize = 32767;

/// Why a statement could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DdlError {
    #[error("the statement has more than {MAX_TOKENS} tokens")]
    TooLong,
    #[error("expected {expected} at byte {at}")]
    Syntax { at: usize, expected: &'static str },
}

/// The text that tokens point into.
#[derive(Clone, Copy)]
pub(super) struct Source<'a>(pub(super) &'a str);

impl<'a> Source<'a> {
    pub(super) fn text(self, token: Token) -> &'a str {
        self.0.get(token.start..token.end).unwrap_or("")
    }

    pub(super) fn is_word(self, token: Token, word: &str) -> bool {
        token.kind == Kind::Word && self.text(token).eq_ignore_ascii_case(word)
    }

    /// The text from the first to the last of `tokens`.
    pub(super) fn span(self, tokens: &[Token]) -> &'a str {
        match (tokens.first(), tokens.last()) {
            (Some(a), Some(b)) => self.0.get(a.start..b.end).unwrap_or(""),
            _ => "",
        }
    }
}

/// Reads one `CREATE` statement as `sqlite_schema` keeps it.
///
/// # Errors
/// When it is no statement that SQLite would have stored.
pub fn parse(sql: &str) -> Result<Statement, DdlError> {
    let tokens = lex::tokens(sql, MAX_TOKENS);
    if tokens.len() > MAX_TOKENS {
        return Err(DdlError::TooLong);
    }
    let mut p = Parser { src: Source(sql), tokens: &tokens, at: 0 };
    p.need_word("create", "CREATE")?;
    let _ = p.word("temp") || p.word("temporary");
    if p.word("virtual") {
        p.need_word("table", "TABLE")?;
        return p.virtual_table().map(Statement::VirtualTable);
    }
    if p.word("table") {
        return p.table().map(Statement::Table);
    }
    let unique = p.word("unique");
    if p.word("index") {
        return p.index(unique).map(Statement::Index);
    }
    if p.word("view") {
        return Ok(Statement::View(View { name: p.object_name()? }));
    }
    if p.word("trigger") {
        return p.trigger().map(Statement::Trigger);
    }
    Err(p.err("TABLE, INDEX, VIEW or TRIGGER"))
}

struct Parser<'a> {
    src: Source<'a>,
    tokens: &'a [Token],
    at: usize,
}

impl<'a> Parser<'a> {
    fn err(&self, expected: &'static str) -> DdlError {
        let at = self.tokens.get(self.at).map_or(self.src.0.len(), |t| t.start);
        DdlError::Syntax { at, expected }
    }

    fn peek(&self) -> Option<Token> {
        self.tokens.get(self.at).copied()
    }

    fn next_is(&self, ahead: usize, word: &str) -> bool {
        self.tokens.get(self.at + ahead).is_some_and(|t| self.src.is_word(*t, word))
    }

    fn word(&mut self, word: &str) -> bool {
        let hit = self.next_is(0, word);
        self.at += usize::from(hit);
        hit
    }

    fn need_word(&mut self, word: &str, expected: &'static str) -> Result<(), DdlError> {
        if self.word(word) { Ok(()) } else { Err(self.err(expected)) }
    }

    fn mark(&mut self, mark: u8) -> bool {
        let hit = self.peek().is_some_and(|t| t.kind == Kind::Mark(mark));
        self.at += usize::from(hit);
        hit
    }

    fn need_mark(&mut self, mark: u8, expected: &'static str) -> Result<(), DdlError> {
        if self.mark(mark) { Ok(()) } else { Err(self.err(expected)) }
    }

    /// A name in any of the quoting styles.
    fn name(&mut self) -> Result<String, DdlError> {
        let token = self.peek().ok_or_else(|| self.err("a name"))?;
        match token.kind {
            Kind::Word | Kind::DoubleQuoted | Kind::Bracketed | Kind::Text => {
                self.at += 1;
                Ok(unquote(self.src.text(token)))
            }
            _ => Err(self.err("a name")),
        }
    }

    /// `[IF NOT EXISTS] [schema.]name`.
    fn object_name(&mut self) -> Result<String, DdlError> {
        if self.next_is(0, "if") && self.next_is(1, "not") && self.next_is(2, "exists") {
            self.at += 3;
        }
        let name = self.name()?;
        if self.mark(b'.') { self.name() } else { Ok(name) }
    }

    /// The tokens between an opening parenthesis, just passed, and its closing one, which is passed too.
    fn balanced(&mut self) -> Result<&'a [Token], DdlError> {
        let start = self.at;
        let mut depth = 1_usize;
        while let Some(token) = self.peek() {
            match token.kind {
                Kind::Mark(b'(') => depth += 1,
                Kind::Mark(b')') => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(self.tokens.get(start..self.at - 1).unwrap_or(&[]));
            }
        }
        Err(self.err("a closing parenthesis"))
    }

    /// Passes `( ... )` and gives what is between.
    fn parenthesised(&mut self) -> Result<&'a [Token], DdlError> {
        self.need_mark(b'(', "an opening parenthesis")?;
        self.balanced()
    }

    fn table(&mut self) -> Result<Table, DdlError> {
        let name = self.object_name()?;
        self.need_mark(b'(', "a column list")?;
        let mut t = Table {
            name,
            columns: Vec::new(),
            primary_key: Vec::new(),
            rowid_alias: None,
            autoincrement: false,
            without_rowid: false,
            strict: false,
            auto_indexes: Vec::new(),
            foreign_keys: Vec::new(),
            checks: Vec::new(),
        };
        let mut keys = Vec::new();
        loop {
            let starts_constraint =
                ["constraint", "primary", "unique", "check", "foreign"].iter().any(|w| self.next_is(0, w));
            if starts_constraint && !t.columns.is_empty() {
                self.table_constraints(&mut t, &mut keys)?;
                self.need_mark(b')', "the end of the column list")?;
                break;
            }
            self.column(&mut t, &mut keys)?;
            if t.columns.len() > MAX_COLUMNS {
                return Err(self.err("fewer columns"));
            }
            if self.mark(b')') {
                break;
            }
            self.need_mark(b',', "a comma or the end of the column list")?;
        }
        while self.peek().is_some_and(|t| t.kind == Kind::Word) {
            if self.word("strict") {
                t.strict = true;
            } else if self.word("without") {
                self.need_word("rowid", "ROWID")?;
                t.without_rowid = true;
            } else {
                return Err(self.err("STRICT or WITHOUT ROWID"));
            }
            self.mark(b',');
        }
        self.mark(b';');
        if self.peek().is_some() {
            return Err(self.err("the end of the statement"));
        }
        finish(&mut t, keys);
        Ok(t)
    }

    fn column(&mut self, t: &mut Table, keys: &mut Vec<KeyConstraint>) -> Result<(), DdlError> {
        let name = self.name()?;
        let declared_type = self.declared_type()?;
        let index = t.columns.len();
        t.columns.push(Column {
            name,
            affinity: Affinity::of_type(&declared_type),
            declared_type,
            not_null: false,
            collation: None,
            default: None,
            generated: None,
            checks: Vec::new(),
        });
        while let Some(token) = self.peek() {
            if matches!(token.kind, Kind::Mark(b',' | b')')) {
                return Ok(());
            }
            self.column_constraint(t, index, keys)?;
        }
        Err(self.err("the end of the column list"))
    }

    fn declared_type(&mut self) -> Result<String, DdlError> {
        const ENDS: [&str; 15] = [
            "constraint",
            "not",
            "null",
            "primary",
            "unique",
            "check",
            "default",
            "collate",
            "references",
            "as",
            "deferrable",
            "on",
            "autoincrement",
            "foreign",
            "select",
        ];
        let start = self.at;
        while let Some(token) = self.peek() {
            match token.kind {
                Kind::Word if ENDS.iter().any(|w| self.src.is_word(token, w)) => break,
                Kind::Word if self.next_is(0, "generated") && self.next_is(1, "always") => break,
                Kind::Word | Kind::DoubleQuoted | Kind::Bracketed | Kind::Text => self.at += 1,
                Kind::Mark(b'(') if self.at > start => {
                    self.parenthesised()?;
                    break;
                }
                _ => break,
            }
        }
        let tokens = self.tokens.get(start..self.at).unwrap_or(&[]);
        let text = self.src.span(tokens);
        Ok(if tokens.len() == 1 { unquote(text) } else { text.to_owned() })
    }

    fn column_constraint(
        &mut self,
        t: &mut Table,
        index: usize,
        keys: &mut Vec<KeyConstraint>,
    ) -> Result<(), DdlError> {
        let Some(column) = t.columns.get_mut(index) else { return Err(self.err("a column")) };
        // By name, so that a COLLATE that is still to come counts.
        let source = KeySource::Name(column.name.clone());
        let own_key = || KeyColumn { source: source.clone(), collation: None, desc: false };
        if self.word("constraint") {
            self.name()?;
        } else if self.word("default") {
            column.default = Some(self.default_value()?);
        } else if self.word("null") {
            self.conflict()?;
        } else if self.next_is(0, "not") && self.next_is(1, "null") {
            self.at += 2;
            column.not_null = true;
            self.conflict()?;
        } else if self.word("primary") {
            self.need_word("key", "KEY")?;
            let desc = !self.word("asc") && self.word("desc");
            self.conflict()?;
            t.autoincrement |= self.word("autoincrement");
            let key = KeyColumn { desc, ..own_key() };
            keys.push(KeyConstraint { columns: vec![key], primary: true, column_desc: desc });
        } else if self.word("unique") {
            self.conflict()?;
            keys.push(KeyConstraint { columns: vec![own_key()], primary: false, column_desc: false });
        } else if self.word("check") {
            let inner = self.parenthesised()?;
            column.checks.push(self.src.span(inner).to_owned());
            self.conflict()?;
        } else if self.word("references") {
            let (parent, parent_columns) = self.references()?;
            t.foreign_keys.push(ForeignKey { columns: vec![index], parent, parent_columns });
        } else if self.word("collate") {
            column.collation = Some(self.name()?);
        } else if self.word("generated") {
            self.need_word("always", "ALWAYS")?;
            self.need_word("as", "AS")?;
            column.generated = Some(self.generated()?);
        } else if self.word("as") {
            column.generated = Some(self.generated()?);
        } else if !self.deferrable()? {
            return Err(self.err("a column constraint"));
        }
        Ok(())
    }

    fn generated(&mut self) -> Result<Generated, DdlError> {
        self.parenthesised()?;
        if self.word("stored") {
            return Ok(Generated::Stored);
        }
        self.word("virtual");
        Ok(Generated::Virtual)
    }

    fn default_value(&mut self) -> Result<DefaultValue, DdlError> {
        let start = self.at;
        if self.mark(b'(') {
            let inner = self.balanced()?;
            return Ok(match expr::constant(self.src, inner) {
                Some(value) => DefaultValue::Literal(value),
                None => DefaultValue::Expression(self.src.span(inner).to_owned()),
            });
        }
        while self.mark(b'-') || self.mark(b'+') {}
        let token = self.peek().ok_or_else(|| self.err("a default value"))?;
        self.at += 1;
        let tokens = self.tokens.get(start..self.at).unwrap_or(&[]);
        let text = self.src.text(token);
        let now = ["current_time", "current_date", "current_timestamp"];
        match token.kind {
            Kind::Word if now.iter().any(|w| text.eq_ignore_ascii_case(w)) => {
                Ok(DefaultValue::Expression(text.to_owned()))
            }
            Kind::Word if ["true", "false", "null"].iter().any(|w| text.eq_ignore_ascii_case(w)) => {
                Ok(expr::constant(self.src, tokens)
                    .map_or_else(|| DefaultValue::Expression(text.to_owned()), DefaultValue::Literal))
            }
            // A bare or quoted name stands for its own text.
            Kind::Word | Kind::DoubleQuoted | Kind::Bracketed => {
                Ok(DefaultValue::Literal(Value::Text(unquote(text).into_bytes())))
            }
            Kind::Text | Kind::Blob | Kind::Number => Ok(expr::constant(self.src, tokens).map_or_else(
                || DefaultValue::Expression(self.src.span(tokens).to_owned()),
                DefaultValue::Literal,
            )),
            Kind::Mark(_) | Kind::Illegal => Err(self.err("a default value")),
        }
    }

    /// `ON CONFLICT ...`, when it is there.
    fn conflict(&mut self) -> Result<(), DdlError> {
        if self.next_is(0, "on") && self.next_is(1, "conflict") {
            self.at += 2;
            self.name()?;
        }
        Ok(())
    }

    /// What follows REFERENCES.
    fn references(&mut self) -> Result<(String, Vec<String>), DdlError> {
        let parent = self.name()?;
        let columns = if self.mark(b'(') { self.name_list()? } else { Vec::new() };
        loop {
            if self.word("on") {
                self.name()?;
                if self.word("set") {
                    self.name()?;
                } else if self.word("no") {
                    self.need_word("action", "ACTION")?;
                } else {
                    self.name()?;
                }
            } else if self.word("match") {
                self.name()?;
            } else if !self.deferrable()? {
                return Ok((parent, columns));
            }
        }
    }

    fn deferrable(&mut self) -> Result<bool, DdlError> {
        let not = usize::from(self.next_is(0, "not"));
        if !self.next_is(not, "deferrable") {
            return Ok(false);
        }
        self.at += not + 1;
        if self.word("initially") {
            self.name()?;
        }
        Ok(true)
    }

    /// Names up to the closing parenthesis; a COLLATE or direction after a name is passed over.
    fn name_list(&mut self) -> Result<Vec<String>, DdlError> {
        let mut out = Vec::new();
        loop {
            out.push(self.name()?);
            if self.word("collate") {
                self.name()?;
            }
            let _ = self.word("asc") || self.word("desc");
            if self.mark(b')') {
                return Ok(out);
            }
            self.need_mark(b',', "a comma")?;
        }
    }

    fn table_constraints(&mut self, t: &mut Table, keys: &mut Vec<KeyConstraint>) -> Result<(), DdlError> {
        while let Some(token) = self.peek() {
            if token.kind == Kind::Mark(b')') {
                break;
            }
            // SQLite takes constraints without a comma between them.
            if self.mark(b',') {
                continue;
            }
            if self.word("constraint") {
                self.name()?;
            } else if self.word("primary") {
                self.need_word("key", "KEY")?;
                let columns = self.key_columns(t)?;
                self.conflict()?;
                keys.push(KeyConstraint { columns, primary: true, column_desc: false });
            } else if self.word("unique") {
                let columns = self.key_columns(t)?;
                self.conflict()?;
                keys.push(KeyConstraint { columns, primary: false, column_desc: false });
            } else if self.word("check") {
                let inner = self.parenthesised()?;
                t.checks.push(self.src.span(inner).to_owned());
                self.conflict()?;
            } else if self.word("foreign") {
                self.need_word("key", "KEY")?;
                self.need_mark(b'(', "a column list")?;
                let names = self.name_list()?;
                let columns = names.iter().filter_map(|n| t.column(n)).collect::<Vec<_>>();
                if columns.len() != names.len() {
                    return Err(self.err("columns of this table"));
                }
                self.need_word("references", "REFERENCES")?;
                let (parent, parent_columns) = self.references()?;
                t.foreign_keys.push(ForeignKey { columns, parent, parent_columns });
            } else if !self.deferrable()? {
                return Err(self.err("a table constraint"));
            }
        }
        Ok(())
    }

    /// The key columns of a PRIMARY KEY or UNIQUE table constraint.
    fn key_columns(&mut self, t: &mut Table) -> Result<Vec<KeyColumn>, DdlError> {
        self.need_mark(b'(', "a column list")?;
        let mut inner = self.balanced()?;
        if let [head @ .., last] = inner
            && self.src.is_word(*last, "autoincrement")
        {
            t.autoincrement = true;
            inner = head;
        }
        let mut keys = sort_list(self.src, inner);
        for key in &mut keys {
            bind_key(key, t);
            if !matches!(key.source, KeySource::Column(_)) {
                return Err(self.err("columns of this table"));
            }
        }
        if keys.is_empty() { Err(self.err("a column")) } else { Ok(keys) }
    }

    fn index(&mut self, unique: bool) -> Result<Index, DdlError> {
        let name = self.object_name()?;
        self.need_word("on", "ON")?;
        let table = self.name()?;
        let inner = self.parenthesised()?;
        let columns = sort_list(self.src, inner);
        if columns.is_empty() || columns.len() > MAX_COLUMNS {
            return Err(self.err("the columns of the index"));
        }
        let mut filter = None;
        let mut filter_expr = None;
        if self.word("where") {
            let mut rest = self.tokens.get(self.at..).unwrap_or(&[]);
            if let [head @ .., last] = rest
                && last.kind == Kind::Mark(b';')
            {
                rest = head;
            }
            if rest.is_empty() {
                return Err(self.err("a condition"));
            }
            filter = Some(self.src.span(rest).to_owned());
            filter_expr = expr::simple(self.src, rest);
        } else {
            self.mark(b';');
            if self.peek().is_some() {
                return Err(self.err("WHERE or the end of the statement"));
            }
        }
        Ok(Index { name, table, unique, columns, filter, filter_expr, automatic: false })
    }

    fn virtual_table(&mut self) -> Result<VirtualTable, DdlError> {
        let name = self.object_name()?;
        self.need_word("using", "USING")?;
        let module = self.name()?;
        let arguments =
            if self.mark(b'(') { self.src.span(self.balanced()?).to_owned() } else { String::new() };
        Ok(VirtualTable { name, module, arguments })
    }

    fn trigger(&mut self) -> Result<Trigger, DdlError> {
        let name = self.object_name()?;
        while self.peek().is_some() {
            if self.word("on") {
                return Ok(Trigger { name, table: self.name()? });
            }
            self.at += 1;
        }
        Err(self.err("ON"))
    }
}
