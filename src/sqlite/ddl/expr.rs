//! The simple expressions: literals, columns, comparisons, AND, OR, NOT, NULL
//! tests, BETWEEN and IN over a list. Everything else is left to SQLite.

use super::super::salvaged::Value;
use super::lex::{Kind, Token, unquote};
use super::parse::Source;

/// How deep parentheses, NOT and signs may nest.
const MAX_DEPTH: usize = 32;

/// A comparison operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompareOp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// `IS`: NULL equals NULL.
    Is,
    IsNot,
}

/// An expression that can be evaluated without SQLite.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// Text in UTF-8.
    Literal(Value),
    /// A column by name. In double quotes it is text where no such column is.
    Column {
        name: String,
        double_quoted: bool,
    },
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    IsNull(Box<Expr>),
    NotNull(Box<Expr>),
    Compare(CompareOp, Box<Expr>, Box<Expr>),
    /// Value, low, high.
    Between(Box<Expr>, Box<Expr>, Box<Expr>),
    In(Box<Expr>, Vec<Expr>),
}

/// The expression that all of `tokens` form, when it is a simple one.
pub(super) fn simple(src: Source<'_>, tokens: &[Token]) -> Option<Expr> {
    let mut p = Reader { src, tokens, at: 0, depth: 0 };
    let e = p.or()?;
    (p.at == tokens.len()).then_some(e)
}

/// The constant that `tokens` form: a literal with signs and parentheses.
pub(super) fn constant(src: Source<'_>, tokens: &[Token]) -> Option<Value> {
    match simple(src, tokens)? {
        Expr::Literal(v) => Some(v),
        _ => None,
    }
}

struct Reader<'a> {
    src: Source<'a>,
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<Token> {
        self.tokens.get(self.at).copied()
    }

    fn word(&mut self, word: &str) -> bool {
        let hit = self.peek().is_some_and(|t| self.src.is_word(t, word));
        self.at += usize::from(hit);
        hit
    }

    fn mark(&mut self, mark: &str) -> bool {
        let hit = self.peek().is_some_and(|t| matches!(t.kind, Kind::Mark(_)) && self.src.text(t) == mark);
        self.at += usize::from(hit);
        hit
    }

    fn deeper<T>(&mut self, f: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.depth += 1;
        let out = if self.depth > MAX_DEPTH { None } else { f(self) };
        self.depth -= 1;
        out
    }

    fn or(&mut self) -> Option<Expr> {
        let mut left = self.and()?;
        let mut links = 0;
        while self.word("or") {
            links += 1;
            let right = self.and()?;
            left = Expr::Or(Box::new(left), Box::new(right));
            if links > MAX_DEPTH {
                return None;
            }
        }
        Some(left)
    }

    fn and(&mut self) -> Option<Expr> {
        let mut left = self.not()?;
        let mut links = 0;
        while self.word("and") {
            links += 1;
            let right = self.not()?;
            left = Expr::And(Box::new(left), Box::new(right));
            if links > MAX_DEPTH {
                return None;
            }
        }
        Some(left)
    }

    fn not(&mut self) -> Option<Expr> {
        if self.word("not") {
            return self.deeper(|p| Some(Expr::Not(Box::new(p.not()?))));
        }
        self.test()
    }

    /// One operand, and at most one test of it: a chain has no simple meaning.
    fn test(&mut self) -> Option<Expr> {
        let left = self.operand()?;
        let b = Box::new;
        if self.word("isnull") {
            return Some(Expr::IsNull(b(left)));
        }
        if self.word("notnull") {
            return Some(Expr::NotNull(b(left)));
        }
        if self.word("is") {
            let not = self.word("not");
            if self.word("null") {
                return Some(if not { Expr::NotNull(b(left)) } else { Expr::IsNull(b(left)) });
            }
            // `IS TRUE` and `IS DISTINCT FROM` are operators of their own.
            if self
                .peek()
                .is_some_and(|t| ["true", "false", "distinct"].iter().any(|w| self.src.is_word(t, w)))
            {
                return None;
            }
            let op = if not { CompareOp::IsNot } else { CompareOp::Is };
            return Some(Expr::Compare(op, b(left), b(self.operand()?)));
        }
        let negated = self.word("not");
        if negated && self.word("null") {
            return Some(Expr::NotNull(b(left)));
        }
        let not = |e: Expr| if negated { Expr::Not(Box::new(e)) } else { e };
        if self.word("between") {
            let low = self.operand()?;
            if !self.word("and") {
                return None;
            }
            return Some(not(Expr::Between(b(left), b(low), b(self.operand()?))));
        }
        if self.word("in") {
            if !self.mark("(") {
                return None;
            }
            let mut list = Vec::new();
            while !self.mark(")") {
                if !list.is_empty() && !self.mark(",") {
                    return None;
                }
                // The list takes the affinity of the left side only when its members are constants.
                match self.operand()? {
                    e @ Expr::Literal(_) => list.push(e),
                    _ => return None,
                }
            }
            return Some(not(Expr::In(b(left), list)));
        }
        if negated {
            return None;
        }
        let op = match self.peek().filter(|t| matches!(t.kind, Kind::Mark(_))).map(|t| self.src.text(t)) {
            Some("=" | "==") => CompareOp::Eq,
            Some("<>" | "!=") => CompareOp::Ne,
            Some("<") => CompareOp::Lt,
            Some("<=") => CompareOp::Le,
            Some(">") => CompareOp::Gt,
            Some(">=") => CompareOp::Ge,
            _ => return Some(left),
        };
        self.at += 1;
        Some(Expr::Compare(op, b(left), b(self.operand()?)))
    }

    fn operand(&mut self) -> Option<Expr> {
        let token = self.peek()?;
        if self.mark("(") {
            let inner = self.deeper(Self::or)?;
            return self.mark(")").then_some(inner);
        }
        if self.mark("+") {
            // A sign takes a column's affinity and collation away.
            return self.deeper(|p| Some(Expr::Literal(literal_of(p.operand()?)?)));
        }
        if self.mark("-") {
            let integer =
                self.peek().filter(|t| t.kind == Kind::Number).map(|t| self.src.text(t).replace('_', ""));
            if integer.as_deref() == Some("9223372036854775808") {
                self.at += 1;
                return Some(Expr::Literal(Value::Integer(i64::MIN)));
            }
            return self.deeper(|p| match literal_of(p.operand()?)? {
                Value::Integer(i) => i.checked_neg().map(|i| Expr::Literal(Value::Integer(i))),
                Value::Real(r) => Some(Expr::Literal(Value::Real(-r))),
                Value::Null => Some(Expr::Literal(Value::Null)),
                _ => None,
            });
        }
        self.at += 1;
        let text = self.src.text(token);
        match token.kind {
            Kind::Number => number(text).map(Expr::Literal),
            Kind::Text => Some(Expr::Literal(Value::Text(unquote(text).into_bytes()))),
            Kind::Blob => Some(Expr::Literal(Value::Blob(hex(text)?))),
            Kind::DoubleQuoted => Some(Expr::Column { name: unquote(text), double_quoted: true }),
            Kind::Bracketed => Some(Expr::Column { name: unquote(text), double_quoted: false }),
            Kind::Word => self.named(text),
            Kind::Mark(_) | Kind::Illegal => None,
        }
    }

    fn named(&mut self, text: &str) -> Option<Expr> {
        let lower = text.to_ascii_lowercase();
        let value = match lower.as_str() {
            "null" => Value::Null,
            "true" => Value::Integer(1),
            "false" => Value::Integer(0),
            "case" | "cast" | "exists" | "select" | "raise" | "collate" | "current_time" | "current_date"
            | "current_timestamp" => return None,
            _ => {
                // `f(...)` and `t.c` are more than a column.
                let next = self.peek().map(|t| self.src.text(t));
                if matches!(next, Some("(" | ".")) {
                    return None;
                }
                return Some(Expr::Column { name: text.to_owned(), double_quoted: false });
            }
        };
        Some(Expr::Literal(value))
    }
}

fn literal_of(e: Expr) -> Option<Value> {
    match e {
        Expr::Literal(v) => Some(v),
        _ => None,
    }
}

fn number(text: &str) -> Option<Value> {
    let text = text.replace('_', "");
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16).ok().map(|u| Value::Integer(u.cast_signed()));
    }
    if text.bytes().all(|b| b.is_ascii_digit())
        && let Ok(i) = text.parse::<i64>()
    {
        return Some(Value::Integer(i));
    }
    text.parse::<f64>().ok().map(Value::Real)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.get(2..text.len().checked_sub(1)?)?.as_bytes();
    digits.chunks_exact(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
