//! The WHERE clause of a partial index, evaluated on the fields of a row.

use std::cmp::Ordering;

use super::super::ddl::{Affinity, CompareOp, Expr, Generated, Table};
use super::super::format::Encoding;
use super::super::record::ValueRef;
use super::super::salvaged::Value;
use super::values::{self, Collation, coerce};

/// Where a value of a row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Rowid,
    /// Field number in the record.
    Field(usize),
}

#[derive(Debug, Clone)]
enum Operand {
    Row(Source),
    Constant(Value),
}

/// A condition with names resolved and constants converted.
#[derive(Debug, Clone)]
pub(super) enum Filter {
    /// The value itself as a condition.
    True(Source),
    Not(Box<Filter>),
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
    IsNull(Source),
    Compare(CompareOp, CompareTerm),
}

/// A column against a constant.
#[derive(Debug, Clone)]
pub(super) struct CompareTerm {
    row: Source,
    constant: Value,
    /// The constant stands left of the operator.
    swapped: bool,
    collation: Collation,
}

/// Resolves `expr`; `None` for what must be left to SQLite.
pub(super) fn bind(expr: &Expr, table: &Table, layout: &[usize], encoding: Encoding) -> Option<Filter> {
    let b = Box::new;
    let go = |e: &Expr| bind(e, table, layout, encoding);
    let cx = Context { table, layout, encoding };
    Some(match expr {
        Expr::Not(e) => Filter::Not(b(go(e)?)),
        Expr::And(x, y) => Filter::And(b(go(x)?), b(go(y)?)),
        Expr::Or(x, y) => Filter::Or(b(go(x)?), b(go(y)?)),
        Expr::IsNull(e) => Filter::IsNull(cx.column(e)?),
        Expr::NotNull(e) => Filter::Not(b(Filter::IsNull(cx.column(e)?))),
        Expr::Compare(op, x, y) => cx.compare(*op, x, y)?,
        Expr::Between(x, low, high) => {
            Filter::And(b(cx.compare(CompareOp::Ge, x, low)?), b(cx.compare(CompareOp::Le, x, high)?))
        }
        Expr::In(x, list) => {
            let mut any: Option<Filter> = None;
            for item in list.iter().take(32) {
                let one = cx.compare(CompareOp::Eq, x, item)?;
                any = Some(match any {
                    None => one,
                    Some(f) => Filter::Or(b(f), b(one)),
                });
            }
            if list.len() > 32 {
                return None;
            }
            any?
        }
        Expr::Column { .. } => Filter::True(cx.column(expr)?),
        Expr::Literal(_) => return None,
    })
}

struct Context<'a> {
    table: &'a Table,
    layout: &'a [usize],
    encoding: Encoding,
}

impl Context<'_> {
    fn column_number(&self, e: &Expr) -> Option<usize> {
        let Expr::Column { name, .. } = e else { return None };
        self.table.column(name)
    }

    fn column(&self, e: &Expr) -> Option<Source> {
        source_of(self.table, self.layout, self.column_number(e)?)
    }

    fn operand(&self, e: &Expr) -> Option<Operand> {
        match e {
            Expr::Literal(v) => Some(Operand::Constant(v.clone())),
            Expr::Column { name, double_quoted: true } if self.table.column(name).is_none() => {
                Some(Operand::Constant(Value::Text(name.clone().into_bytes())))
            }
            Expr::Column { .. } => self.column(e).map(Operand::Row),
            _ => None,
        }
    }

    fn compare(&self, op: CompareOp, x: &Expr, y: &Expr) -> Option<Filter> {
        let (row, constant, column, swapped) = match (self.operand(x)?, self.operand(y)?) {
            (Operand::Row(r), Operand::Constant(v)) => (r, v, self.column_number(x)?, false),
            (Operand::Constant(v), Operand::Row(r)) => (r, v, self.column_number(y)?, true),
            _ => return None,
        };
        let column = self.table.columns.get(column)?;
        let affinity = if row == Source::Rowid { Affinity::Integer } else { column.affinity };
        let constant = coerce(&constant, affinity, self.encoding)?;
        let collation = Collation::named(column.collation.as_deref());
        if collation == Collation::Unknown && matches!(constant, Value::Text(_)) {
            return None;
        }
        Some(Filter::Compare(op, CompareTerm { row, constant, swapped, collation }))
    }
}

/// Where the record keeps a column; `None` for a virtual one.
pub(super) fn source_of(table: &Table, layout: &[usize], column: usize) -> Option<Source> {
    if table.rowid_alias == Some(column) {
        return Some(Source::Rowid);
    }
    if table.columns.get(column)?.generated == Some(Generated::Virtual) {
        return None;
    }
    layout.iter().position(|c| *c == column).map(Source::Field)
}

impl Filter {
    /// Whether the row belongs to the index. `get` gives the row's values.
    pub(super) fn holds<'v>(&self, encoding: Encoding, get: &mut dyn FnMut(Source) -> ValueRef<'v>) -> bool {
        self.eval(encoding, get) == Some(true)
    }

    /// Whether the condition looks at a field of the record.
    pub(super) fn uses(&self, field: usize) -> bool {
        match self {
            Self::True(s) | Self::IsNull(s) => *s == Source::Field(field),
            Self::Not(f) => f.uses(field),
            Self::And(x, y) | Self::Or(x, y) => x.uses(field) || y.uses(field),
            Self::Compare(_, term) => term.row == Source::Field(field),
        }
    }

    /// Three-valued: `None` is NULL.
    fn eval<'v>(&self, encoding: Encoding, get: &mut dyn FnMut(Source) -> ValueRef<'v>) -> Option<bool> {
        match self {
            Self::True(s) => truth(get(*s), encoding),
            Self::Not(f) => f.eval(encoding, get).map(|b| !b),
            Self::And(x, y) => match (x.eval(encoding, get), y.eval(encoding, get)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Self::Or(x, y) => match (x.eval(encoding, get), y.eval(encoding, get)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Self::IsNull(s) => Some(is_null(get(*s))),
            Self::Compare(op, term) => {
                let value = get(term.row);
                let constant = values::as_ref(&term.constant);
                let nulls = (is_null(value), is_null(constant));
                match op {
                    CompareOp::Is if nulls.0 || nulls.1 => return Some(nulls.0 && nulls.1),
                    CompareOp::IsNot if nulls.0 || nulls.1 => return Some(nulls.0 != nulls.1),
                    _ if nulls.0 || nulls.1 => return None,
                    _ => {}
                }
                let mut order = values::compare(value, constant, term.collation, encoding)?;
                if term.swapped {
                    order = order.reverse();
                }
                Some(match op {
                    CompareOp::Eq | CompareOp::Is => order == Ordering::Equal,
                    CompareOp::Ne | CompareOp::IsNot => order != Ordering::Equal,
                    CompareOp::Lt => order == Ordering::Less,
                    CompareOp::Le => order != Ordering::Greater,
                    CompareOp::Gt => order == Ordering::Greater,
                    CompareOp::Ge => order != Ordering::Less,
                })
            }
        }
    }
}

fn is_null(v: ValueRef<'_>) -> bool {
    match v {
        ValueRef::Null => true,
        ValueRef::Real(r) => r.is_nan(),
        _ => false,
    }
}

/// A value as a condition: text counts by the number that it begins with.
fn truth(v: ValueRef<'_>, encoding: Encoding) -> Option<bool> {
    match v {
        ValueRef::Null => None,
        ValueRef::Integer(i) => Some(i != 0),
        ValueRef::Real(r) if r.is_nan() => None,
        ValueRef::Real(r) => Some(r != 0.0),
        ValueRef::Text(b) => Some(leading_number(&values::to_utf8(b, encoding).unwrap_or_default()) != 0.0),
        ValueRef::Blob(b) => Some(leading_number(b) != 0.0),
    }
}

fn leading_number(bytes: &[u8]) -> f64 {
    let text: String = bytes.iter().take(400).map(|b| char::from(*b)).collect();
    let text = text.trim_start();
    let ends = (1..=text.len()).rev().filter(|i| text.is_char_boundary(*i));
    for end in ends {
        let head = text.get(..end).unwrap_or("");
        if values::is_numeric(head.as_bytes()) {
            return head.trim().parse().unwrap_or(0.0);
        }
    }
    0.0
}
