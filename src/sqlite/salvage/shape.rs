//! What the records of a table or index look like: field count, classes and
//! NULLs, from the schema and from what was seen. By it pages that lost their
//! parent find their table, and remains are told from rows.

use crate::ddl::{Affinity, FieldSource, Index, Table};
use crate::format::PageType;
use crate::record::{self, Class, Slot, ValueRef};

/// The three kinds of tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TreeKind {
    Rowid,
    WithoutRowid,
    Index,
}

impl TreeKind {
    /// Type of its leaf pages.
    #[must_use]
    pub fn leaf(self) -> PageType {
        if self == Self::Rowid { PageType::TableLeaf } else { PageType::IndexLeaf }
    }

    /// Type of its interior pages.
    #[must_use]
    pub fn interior(self) -> PageType {
        if self == Self::Rowid { PageType::TableInterior } else { PageType::IndexInterior }
    }
}

/// What one field of a record may hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Field {
    pub affinity: Affinity,
    /// Column number in the table; `None` for the rowid or an expression in an index.
    pub column: Option<usize>,
    /// Classes that the schema lets through, one bit per [`Class`].
    pub lawful: u8,
    /// Classes that are usual for the affinity.
    pub usual: u8,
    /// Classes seen in sound pages of the tree.
    pub seen: u8,
    /// How often each class was seen, and how long the values were.
    pub stats: FieldStats,
}

/// What a field held in sound pages.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FieldStats {
    /// By [`Class`].
    pub classes: [u32; 5],
    len_sum: f64,
    len_square: f64,
    /// Smallest and largest integer.
    ints: Option<(i64, i64)>,
    /// Bytes of the longest real without the zeros at its end.
    real_bytes: u8,
}

impl FieldStats {
    fn learn(&mut self, slot: &Slot, payload: &[u8]) {
        let class = Class::of_serial(slot.serial);
        if let Some(n) = self.classes.get_mut(class as usize) {
            *n = n.saturating_add(1);
        }
        let len = slot.len as f64;
        self.len_sum += len;
        self.len_square += len * len;
        if let Some(ValueRef::Integer(n)) = record::slot_value(slot, payload) {
            self.ints = Some(self.ints.map_or((n, n), |(a, b)| (a.min(n), b.max(n))));
        }
        if let Some(ValueRef::Real(r)) = record::slot_value(slot, payload) {
            self.real_bytes = self.real_bytes.max(8 - (r.to_bits().trailing_zeros() / 8).min(8) as u8);
        }
    }

    /// Whether all reals that were seen, and they are many, have nothing but
    /// zeros from byte `n` on.
    pub fn reals_end_by(&self, n: u64) -> bool {
        let seen = self.classes.get(Class::Real as usize).copied().unwrap_or(0);
        seen >= TELLING && u64::from(self.real_bytes) <= n
    }

    fn seen(&self) -> u32 {
        self.classes.iter().sum()
    }

    /// How likely a value is here, as a logarithm. Where nothing was seen,
    /// each of the `usual` classes is as likely as the others, and any value.
    fn likelihood(&self, slot: &Slot, payload: &[u8], usual: u8) -> f64 {
        let n = f64::from(self.seen());
        let class = Class::of_serial(slot.serial);
        if n < 1.0 {
            let any = match class {
                Class::Text | Class::Blob => 6.0,
                Class::Integer => 5.5,
                Class::Null | Class::Real => 0.0,
            };
            return -f64::from(usual.count_ones().max(1)).ln() - any;
        }
        let hits = self.classes.get(class as usize).copied().map_or(0.0, f64::from);
        let mut log = ((hits + 0.2) / (n + 1.0)).ln();
        if matches!(class, Class::Text | Class::Blob) {
            let mean = self.len_sum / n;
            let spread = (self.len_square / n - mean * mean).max(1.0).sqrt();
            let z = (slot.len as f64 - mean) / spread;
            log -= (z * z / 2.0).min(8.0) + spread.ln() / 2.0;
        }
        if let (Some((a, b)), Some(ValueRef::Integer(v))) = (self.ints, record::slot_value(slot, payload)) {
            // Outside of what was seen, by more than the whole span.
            let span = (b as f64 - a as f64).max(1.0);
            let out = (a as f64 - v as f64).max(v as f64 - b as f64).max(0.0);
            log -= (out / span).min(8.0) + span.ln() / 8.0;
        }
        log
    }
}

/// Bit of a class in a mask.
#[must_use]
#[inline]
pub fn bit(class: Class) -> u8 {
    1 << class as u8
}

const NULL: u8 = 1;
const INT: u8 = 2;
const REAL: u8 = 4;
const TEXT: u8 = 8;
const BLOB: u8 = 16;
const ANY: u8 = 31;

/// From how many values on it means something that none is of a class.
const TELLING: u32 = 30;

/// The look of a tree's records.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    pub kind: TreeKind,
    pub fields: Vec<Field>,
    /// Fewest fields seen in sound pages.
    pub seen_fields: usize,
    /// Records seen in sound pages.
    pub seen_records: u64,
    /// How many fields make the key of a WITHOUT ROWID table; 0 for others.
    pub key_fields: usize,
}

/// Lawful and usual classes of an affinity.
fn classes(affinity: Affinity, declared: &str, strict: bool) -> (u8, u8) {
    match affinity {
        Affinity::Text => (NULL | TEXT | BLOB, NULL | TEXT),
        Affinity::Integer if strict => (NULL | INT, NULL | INT),
        Affinity::Integer => (ANY, NULL | INT),
        Affinity::Real => (ANY, NULL | INT | REAL),
        Affinity::Numeric if strict => (ANY, ANY),
        Affinity::Numeric => (ANY, NULL | INT | REAL | TEXT),
        Affinity::None if declared.eq_ignore_ascii_case("blob") => (ANY, NULL | BLOB),
        Affinity::None => (ANY, ANY),
    }
}

/// What SQLite itself writes into its own tables, whose columns have no types
/// (fileformat2, "Internal Schema Objects").
fn own_tables(name: &str) -> &'static [u8] {
    match name {
        "sqlite_sequence" => &[TEXT, INT],
        "sqlite_stat1" => &[TEXT, NULL | TEXT, TEXT],
        "sqlite_stat4" => &[TEXT, TEXT, TEXT, TEXT, TEXT, BLOB],
        _ => &[],
    }
}

impl Shape {
    /// The records of a table's own tree.
    #[must_use]
    pub fn of_table(table: &Table) -> Self {
        let fields = table
            .record_layout()
            .into_iter()
            .filter_map(|c| table.columns.get(c).map(|column| (c, column)))
            .map(|(c, column)| {
                let (mut lawful, mut usual) = classes(column.affinity, &column.declared_type, table.strict);
                if !table.without_rowid && table.rowid_alias == Some(c) {
                    (lawful, usual) = (NULL, NULL);
                } else if column.not_null {
                    lawful &= !NULL;
                    usual &= !NULL;
                }
                Field {
                    affinity: column.affinity,
                    column: Some(c),
                    lawful,
                    usual,
                    seen: 0,
                    stats: FieldStats::default(),
                }
            })
            .collect::<Vec<Field>>();
        let mut fields = fields;
        for (field, usual) in fields.iter_mut().zip(own_tables(&table.name)) {
            field.usual = *usual;
        }
        let kind = if table.without_rowid { TreeKind::WithoutRowid } else { TreeKind::Rowid };
        let key_fields = if table.without_rowid { table.clustered_key().len() } else { 0 };
        Self { kind, fields, seen_fields: usize::MAX, seen_records: 0, key_fields }
    }

    /// The records of an index's tree; `index` must be bound to `table`.
    #[must_use]
    pub fn of_index(index: &Index, table: &Table) -> Self {
        let fields = index
            .record_layout(table)
            .into_iter()
            .map(|f| match f.source {
                FieldSource::Column(c) => {
                    let column = table.columns.get(c);
                    let affinity = column.map_or(Affinity::None, |c| c.affinity);
                    let (lawful, usual) =
                        classes(affinity, column.map_or("", |c| &c.declared_type), table.strict);
                    Field { affinity, column: Some(c), lawful, usual, seen: 0, stats: FieldStats::default() }
                }
                FieldSource::Rowid => Field {
                    affinity: Affinity::Integer,
                    column: None,
                    lawful: INT,
                    usual: INT,
                    seen: 0,
                    stats: FieldStats::default(),
                },
                FieldSource::Expression(_) => Field {
                    affinity: Affinity::None,
                    column: None,
                    lawful: ANY,
                    usual: ANY,
                    seen: 0,
                    stats: FieldStats::default(),
                },
            })
            .collect();
        Self { kind: TreeKind::Index, fields, seen_fields: usize::MAX, seen_records: 0, key_fields: 0 }
    }

    /// The same shape with nothing seen yet.
    #[must_use]
    pub fn blank(&self) -> Self {
        let blank = |f: &Field| Field { seen: 0, stats: FieldStats::default(), ..*f };
        let fields = self.fields.iter().map(blank).collect();
        Self { fields, seen_fields: usize::MAX, seen_records: 0, ..*self }
    }

    /// Remembers a record of a sound page.
    pub fn learn(&mut self, slots: &[Slot], payload: &[u8]) {
        self.seen_fields = self.seen_fields.min(slots.len());
        self.seen_records += 1;
        for (field, slot) in self.fields.iter_mut().zip(slots) {
            field.seen |= bit(Class::of_serial(slot.serial));
            field.stats.learn(slot, payload);
        }
    }

    /// How likely a record is here by what was seen, as a logarithm.
    #[must_use]
    pub fn likelihood(&self, slots: &[Slot], payload: &[u8]) -> f64 {
        self.fields.iter().zip(slots).map(|(f, s)| f.stats.likelihood(s, payload, f.usual)).sum()
    }

    /// Whether a record is one that the schema lets through, or such as was seen.
    #[must_use]
    #[inline]
    pub fn lawful(&self, slots: &[Slot]) -> bool {
        self.count_fits(slots.len(), false) && self.lawful_classes(slots)
    }

    /// Whether the schema lets the values through, or such were seen; a record
    /// may be as short as any, for what was seen so far may all be newer.
    #[must_use]
    #[inline]
    pub fn lawful_classes(&self, slots: &[Slot]) -> bool {
        slots.len() <= self.fields.len()
            && self.fields.iter().zip(slots).all(|(f, s)| (f.lawful | f.seen) & class_bit(s.serial) != 0)
    }

    /// Whether a record is such as is usual here; stricter than [`Shape::lawful`].
    #[must_use]
    #[inline]
    pub fn usual(&self, slots: &[Slot]) -> bool {
        self.count_fits(slots.len(), true)
            && self.fields.iter().zip(slots).all(|(f, s)| (f.usual | f.seen) & class_bit(s.serial) != 0)
    }

    /// Whether the values are such as are usual here, however short the record is.
    #[must_use]
    pub fn usual_classes(&self, slots: &[Slot]) -> bool {
        slots.len() <= self.fields.len()
            && self.fields.iter().zip(slots).all(|(f, s)| (f.usual | f.seen) & class_bit(s.serial) != 0)
    }

    /// Fields of a record whose type is one that their column hardly ever has:
    /// one changed bit makes a text a blob, or a real an integer. Where the
    /// statement names no type, what was seen is the only rule.
    pub fn odd_fields<'a>(&'a self, slots: &'a [Slot]) -> impl Iterator<Item = usize> + 'a {
        self.fields.iter().zip(slots).enumerate().filter_map(|(i, (field, slot))| {
            let class = Class::of_serial(slot.serial);
            let hits = field.stats.classes.get(class as usize).copied().unwrap_or(0);
            // One may be this record itself.
            let rare = hits <= (field.stats.seen() / 200).max(1);
            let unruled = field.usual == ANY && field.stats.seen() >= TELLING;
            let unusual = rare && (unruled || field.usual & bit(class) == 0);
            // A REAL column keeps only short integers as such.
            let wide = field.affinity == Affinity::Real && slot.serial == 6;
            (unusual || wide).then_some(i)
        })
    }

    /// Whether so many fields are right: all, or fewer where rows older than a column exist.
    #[inline]
    fn count_fits(&self, n: usize, strict: bool) -> bool {
        let all = self.fields.len();
        if n == all {
            return true;
        }
        if n == 0 || n > all || self.kind == TreeKind::Index {
            return false;
        }
        // A row is short only when columns were added later; those allow NULL or have a default.
        n >= self.seen_fields || (!strict && self.seen_records == 0)
    }
}

#[inline]
fn class_bit(serial: u64) -> u8 {
    bit(Class::of_serial(serial))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddl::{Statement, parse};

    fn slots(serials: &[u64]) -> Vec<Slot> {
        serials.iter().map(|&serial| Slot { serial, start: 0, len: 0 }).collect()
    }

    fn table(sql: &str) -> Table {
        match parse(sql).unwrap() {
            Statement::Table(t) => t,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_row_fits_its_table() {
        let shape = Shape::of_table(&table(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT NOT NULL, x REAL, d BLOB)",
        ));
        assert!(shape.usual(&slots(&[0, 19, 7, 12])));
        assert!(shape.usual(&slots(&[0, 19, 1, 0])));
        assert!(!shape.lawful(&slots(&[1, 19, 7, 12])), "the alias is stored as NULL");
        assert!(!shape.lawful(&slots(&[0, 0, 7, 12])), "NOT NULL");
        assert!(!shape.lawful(&slots(&[0, 1, 7, 12])), "numbers do not stay numbers in TEXT");
        assert!(shape.lawful(&slots(&[0, 19, 19, 12])));
        assert!(!shape.usual(&slots(&[0, 19, 19, 12])));
        assert!(!shape.lawful(&slots(&[0, 19, 7, 12, 1])));
    }

    #[test]
    fn a_class_that_a_column_never_has_is_odd() {
        let mut shape = Shape::of_table(&table("CREATE TABLE t(a, b TEXT)"));
        let odd = |shape: &Shape, serials: &[u64]| shape.odd_fields(&slots(serials)).collect::<Vec<_>>();
        assert_eq!(odd(&shape, &[12, 13]), [] as [usize; 0], "nothing is known yet");
        for _ in 0..400 {
            shape.learn(&slots(&[13, 13]), &[]);
        }
        assert_eq!(odd(&shape, &[12, 13]), [0]);
        assert_eq!(odd(&shape, &[13, 12]), [1]);
        for _ in 0..40 {
            shape.learn(&slots(&[12, 13]), &[]);
        }
        assert_eq!(odd(&shape, &[12, 13]), [] as [usize; 0], "blobs are usual there");
    }

    #[test]
    fn short_rows_fit_where_they_were_seen() {
        let mut shape = Shape::of_table(&table("CREATE TABLE t(a TEXT, b TEXT, c INT DEFAULT 5)"));
        shape.learn(&slots(&[13, 13, 1]), &[]);
        assert!(!shape.usual(&slots(&[13, 13])));
        shape.learn(&slots(&[13, 13]), &[]);
        assert!(shape.usual(&slots(&[13, 13])));
    }
}
