//! Compares what salvage made with what survives.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use rusqlite::Connection;

use super::damage::{Case, Damaged};
use super::make::TableSpec;
use super::walk::{FileId, Files, Record, Span, Val, View, record, varint};

/// How one damaged database came out.
#[derive(Debug, Clone, Default)]
pub struct Score {
    /// Rows before the damage.
    pub rows: usize,
    /// Rows of which no byte changed.
    pub surviving: usize,
    /// Of the surviving: equal in their table.
    pub exact: usize,
    /// Of the surviving: in their table, not equal, but listed as doubtful.
    pub doubtful: usize,
    /// Of the surviving: equal, but in `lost_and_found` or another table.
    pub aside: usize,
    /// Of the surviving: nowhere.
    pub lost: usize,
    /// Destroyed rows that came back equal all the same.
    pub bonus: usize,
    /// Destroyed rows that did not, nor as their damaged bytes read now.
    pub gone: usize,
    /// Rows in a table that were never there and are not listed as doubtful.
    pub wrong: usize,
    /// Rows that read as the damaged bytes now say; nothing in the row tells.
    pub excused: usize,
    /// 1 when rows were lost and the report says that all is well.
    pub silent: usize,
    /// Not `ok` for integrity_check.
    pub unsound: Option<String>,
    /// The first few wrong or lost rows, for a person.
    pub examples: Vec<String>,
}

impl Score {
    pub fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.surviving += other.surviving;
        self.exact += other.exact;
        self.doubtful += other.doubtful;
        self.aside += other.aside;
        self.lost += other.lost;
        self.bonus += other.bonus;
        self.gone += other.gone;
        self.wrong += other.wrong;
        self.excused += other.excused;
        self.silent += other.silent;
        if self.unsound.is_none() {
            self.unsound.clone_from(&other.unsound);
        }
    }
}

/// A row with its values as SQL sees them: short records filled up with their
/// defaults, whole reals as integers, the rowid or key in front.
type Plain = (Option<i64>, Vec<Val>);

fn plain(r: &Record, spec: &TableSpec) -> Plain {
    let mut values: Vec<Val> = match &spec.layout {
        Some(layout) => {
            let mut v = vec![Val::Null; r.values.len()];
            for (value, &at) in r.values.iter().zip(layout) {
                v[at] = value.clone();
            }
            v
        }
        None => r.values.clone(),
    };
    while values.len() < spec.defaults.len() {
        values.push(spec.defaults[values.len()].clone().unwrap_or(Val::Null));
    }
    for v in &mut values {
        if let Val::Real(bits) = *v {
            let f = f64::from_bits(bits);
            if f.fract() == 0.0 && f.abs() < 1e15 {
                *v = Val::Int(f as i64);
            }
        }
    }
    (r.rowid, values)
}

fn key(row: &Plain) -> String {
    format!("{row:?}")
}

/// Whether any of the spans lies in destroyed bytes.
fn hit(spans: &[Span], destroyed: &[Span]) -> bool {
    spans.iter().any(|s| {
        let i = destroyed.partition_point(|d| (d.file, d.end) <= (s.file, s.start));
        destroyed.get(i).is_some_and(|d| d.file == s.file && d.start < s.end)
    })
}

/// Which rows of each table survive.
pub fn survivors(case: &Case, damaged: &Damaged) -> Vec<Vec<bool>> {
    let mut destroyed = damaged.destroyed.clone();
    destroyed.sort();
    let alive = |rows: &Vec<Record>| rows.iter().map(|r| !hit(&r.spans, &destroyed)).collect();
    case.rows.iter().map(alive).collect()
}

/// A destroyed row as its bytes read now, when its header still fits.
fn reads_as(r: &Record, case: &Case, damaged: &Damaged) -> Option<Record> {
    if !damaged.in_place {
        return None;
    }
    let bytes = |spans: &[Span], files: &Files| -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for s in spans {
            out.extend(files.get(s.file).get(s.start..s.end)?);
        }
        Some(out)
    };
    let before = bytes(&r.payload, &case.made.files)?;
    let now = bytes(&r.payload, &damaged.files)?;
    let (types, _) = record(&before)?;
    let (types_now, values) = record(&now)?;
    // A changed storage class shows; a changed value of the same class may not.
    let class = |t: &u64| match t {
        0 | 1..=6 | 8 | 9 => 0,
        7 => 1,
        n => 2 + n % 2,
    };
    let same = types.iter().map(class).eq(types_now.iter().map(class));
    let mut rowid = r.rowid;
    if let (Some(_), Some(cell)) = (r.rowid, r.spans.first()) {
        let cell_now = damaged
            .files
            .get(cell.file)
            .get(cell.start..(cell.start + 18).min(damaged.files.get(cell.file).len()))?;
        let padded: Vec<u8> = cell_now.iter().copied().chain([0; 18]).collect();
        let (_, n) = varint(&padded);
        rowid = Some(varint(&padded[n..]).0 as i64);
    }
    same.then(|| Record { rowid, values, ..r.clone() })
}

/// Scores the database at `out`.
pub fn score(case: &Case, damaged: &Damaged, out: &Path) -> Score {
    let mut score = Score::default();
    let alive = survivors(case, damaged);
    score.rows = case.rows.iter().map(Vec::len).sum();
    score.surviving = alive.iter().flatten().filter(|a| **a).count();
    let Ok(bytes) = std::fs::read(out) else {
        score.lost = score.surviving;
        return score;
    };
    score.unsound = integrity(out);
    if bytes.len() < 512 || score.unsound.is_some() {
        score.lost = score.surviving;
        return score;
    }
    let files = Files { db: bytes, wal: None, journal: None };
    let view = View::new(&files);
    let mut pages = Vec::new();
    let schema = view.schema(&mut pages);
    let mut tables: HashMap<String, Vec<Record>> = HashMap::new();
    for row in schema.iter().filter(|r| r.kind == "table" && r.root > 0) {
        let mut records = Vec::new();
        view.tree(row.root, true, &row.name, &mut records, &mut pages);
        tables.insert(row.name.clone(), records);
    }
    let declared = declared(out);
    let elsewhere = elsewhere(&tables, &case.made.tables, damaged.nameless);
    for ((spec, rows), alive) in case.made.tables.iter().zip(&case.rows).zip(&alive) {
        let got = tables.get(&spec.name).cloned().unwrap_or_default();
        let mut got_keys: HashMap<String, usize> = HashMap::new();
        let mut got_ids: HashSet<i64> = HashSet::new();
        for r in &got {
            *got_keys.entry(key(&plain(r, spec))).or_default() += 1;
            got_ids.extend(r.rowid);
        }
        let mut true_keys = HashSet::new();
        for (r, alive) in rows.iter().zip(alive) {
            let p = plain(r, spec);
            let k = key(&p);
            let exact = got_keys.contains_key(&k);
            true_keys.insert(k);
            if !alive {
                score.bonus += usize::from(exact);
                let now = reads_as(r, case, damaged).map(|now| key(&plain(&now, spec)));
                score.gone += usize::from(!exact && !now.as_ref().is_some_and(|n| got_keys.contains_key(n)));
                true_keys.extend(now.map(|n| format!("~{n}")));
                continue;
            }
            if exact {
                score.exact += 1;
            } else if elsewhere.contains(&values_key(r, &p)) {
                score.aside += 1;
                example(&mut score, "aside", spec, r);
            } else if r.rowid.is_some_and(|id| {
                got_ids.contains(&id) && declared.contains(&(spec.name.clone(), id.to_string()))
            }) {
                score.doubtful += 1;
                example(&mut score, "doubtful", spec, r);
            } else {
                score.lost += 1;
                example(&mut score, "lost", spec, r);
            }
        }
        for r in &got {
            let k = key(&plain(r, spec));
            if true_keys.contains(&k) {
                continue;
            }
            if is_declared(&declared, spec, r, &view) {
                continue;
            }
            if true_keys.contains(&format!("~{k}")) {
                score.excused += 1;
            } else {
                score.wrong += 1;
                example(&mut score, "wrong", spec, r);
            }
        }
    }
    score
}

fn example(score: &mut Score, what: &str, spec: &TableSpec, r: &Record) {
    if score.examples.len() < 6 || what == "wrong" && score.examples.len() < 12 {
        let values: Vec<String> = r.values.iter().map(for_a_person).collect();
        let shown: String = values.join(", ").chars().take(110).collect();
        let at = r.spans.first().map(|s| (s.file, s.start));
        score
            .examples
            .push(format!("{what} {} rowid {:?} page {} at {at:?}: {shown}", spec.name, r.rowid, r.page));
    }
}

fn for_a_person(v: &Val) -> String {
    match v {
        Val::Null => "NULL".into(),
        Val::Int(n) => n.to_string(),
        Val::Real(bits) => format!("{:?}", f64::from_bits(*bits)),
        Val::Text(b) => format!("{:?}", String::from_utf8_lossy(b).replace('\0', "")),
        Val::Blob(b) => format!("{} bytes", b.len()),
    }
}

/// A row as `lost_and_found` shows it: no table, record order unknown.
fn values_key(r: &Record, p: &Plain) -> String {
    let mut values: Vec<String> = r.values.iter().map(|v| format!("{:?}", normal(v))).collect();
    if r.rowid.is_none() {
        values.sort();
    }
    format!("{:?} {values:?}", p.0)
}

fn normal(v: &Val) -> Val {
    match *v {
        Val::Real(bits) if f64::from_bits(bits).fract() == 0.0 => Val::Int(f64::from_bits(bits) as i64),
        ref other => other.clone(),
    }
}

/// Rows of `lost_and_found` and, when names are unknown, of all other tables.
fn elsewhere(tables: &HashMap<String, Vec<Record>>, known: &[TableSpec], nameless: bool) -> HashSet<String> {
    let mut out = HashSet::new();
    for (name, rows) in tables {
        let lost = name.starts_with("lost_and_found");
        if !lost && !nameless && known.iter().any(|t| t.name == *name) {
            continue;
        }
        for r in rows {
            let (rowid, values) = if lost {
                let id = match r.values.get(3) {
                    Some(Val::Int(n)) => Some(*n),
                    _ => None,
                };
                (id, r.values.get(4..).unwrap_or_default().to_vec())
            } else {
                (r.rowid, r.values.clone())
            };
            // A record may have been filled up with NULLs.
            let mut values = values;
            loop {
                let as_record = Record { rowid, values: values.clone(), ..r.clone() };
                out.insert(values_key(&as_record, &(rowid, vec![])));
                let as_keyed = Record { rowid: None, ..as_record };
                out.insert(values_key(&as_keyed, &(None, vec![])));
                if values.last() != Some(&Val::Null) {
                    break;
                }
                values.pop();
            }
        }
    }
    out
}

/// Table and row key of everything that is listed as doubtful.
fn declared(out: &Path) -> HashSet<(String, String)> {
    let db = Connection::open(out).unwrap();
    let Ok(mut s) = db.prepare("SELECT table_name, CAST(row_key AS TEXT) FROM shopmend_doubtful") else {
        return HashSet::new();
    };
    s.query_map([], |r| Ok((r.get::<_, String>(0)?, r.get::<_, Option<String>>(1)?.unwrap_or_default())))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn is_declared(declared: &HashSet<(String, String)>, spec: &TableSpec, r: &Record, view: &View<'_>) -> bool {
    if let Some(id) = r.rowid {
        return declared.contains(&(spec.name.clone(), id.to_string()));
    }
    // The key of `kv`: text, then a number.
    let shown: Vec<String> = r
        .values
        .iter()
        .take(2)
        .map(|v| match v {
            Val::Text(b) => format!("'{}'", view.text(b)),
            Val::Int(n) => n.to_string(),
            Val::Blob(b) => {
                let hex: Vec<String> = b.iter().take(32).map(|b| format!("{b:02x}")).collect();
                format!("x'{}'", hex.concat())
            }
            _ => "NULL".into(),
        })
        .collect();
    let alone = match r.values.first() {
        Some(Val::Text(b)) => view.text(b),
        _ => shown.first().cloned().unwrap_or_default(),
    };
    // Where its statement is lost, the first column alone may be taken for the key.
    declared.contains(&(spec.name.clone(), shown.join(", ")))
        || declared.contains(&(spec.name.clone(), alone))
}

fn integrity(path: &Path) -> Option<String> {
    let db = match Connection::open(path) {
        Ok(db) => db,
        Err(e) => return Some(e.to_string()),
    };
    let lines = || -> rusqlite::Result<Vec<String>> {
        let mut s = db.prepare("PRAGMA integrity_check")?;
        s.query_map([], |r| r.get(0))?.collect()
    };
    match lines() {
        Ok(lines) if lines == ["ok"] => None,
        Ok(lines) => Some(lines.join("; ").chars().take(300).collect()),
        Err(e) => Some(e.to_string()),
    }
}

/// Scores by class, as a table for a person.
pub fn table(
    by_class: &BTreeMap<String, (usize, Score)>,
    other: &BTreeMap<String, (usize, Score)>,
) -> String {
    let mut out = format!(
        "{:<30} {:>5} {:>7} {:>7} {:>6} {:>6} {:>6} {:>6} {:>5} {:>7}",
        "damage", "cases", "survive", "exact", "doubt", "aside", "lost", "wrong", "exc.", "exact %"
    );
    if !other.is_empty() {
        out.push_str(&format!(" | {:>7} {:>6} {:>6} .recover", "exact", "aside", "wrong"));
    }
    out.push('\n');
    let mut total = (0, Score::default());
    let mut total_other = Score::default();
    let line = |name: &str, n: usize, s: &Score, o: Option<&Score>| {
        let percent = if s.surviving == 0 { 100.0 } else { 100.0 * s.exact as f64 / s.surviving as f64 };
        let mut line = format!(
            "{name:<30} {n:>5} {:>7} {:>7} {:>6} {:>6} {:>6} {:>6} {:>5} {percent:>7.2}",
            s.surviving, s.exact, s.doubtful, s.aside, s.lost, s.wrong, s.excused
        );
        if let Some(o) = o {
            line.push_str(&format!(" | {:>7} {:>6} {:>6}", o.exact, o.aside, o.wrong));
        }
        line + "\n"
    };
    for (name, (n, s)) in by_class {
        out.push_str(&line(name, *n, s, other.get(name).map(|o| &o.1)));
        total.0 += n;
        total.1.add(s);
        if let Some((_, o)) = other.get(name) {
            total_other.add(o);
        }
    }
    out.push_str(&line("all", total.0, &total.1, (!other.is_empty()).then_some(&total_other)));
    out
}

/// Which file a span is in, for messages.
pub fn file_name(id: FileId) -> &'static str {
    match id {
        FileId::Db => "database",
        FileId::Wal => "log",
        FileId::Journal => "journal",
    }
}
