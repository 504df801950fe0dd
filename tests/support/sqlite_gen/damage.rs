//! Every class of damage, applied from a seed.

use super::Dice;
use super::make::{Beside, Made, make};
use super::walk::{FileId, Files, PageAt, Record, Role, SchemaRow, Span, View, frames, saved};

/// A made database with everything that is in it.
pub struct Case {
    pub made: Made,
    pub schema: Vec<SchemaRow>,
    pub pages: Vec<PageAt>,
    /// Records by scored table, in the order of `made.tables`.
    pub rows: Vec<Vec<Record>>,
}

impl Case {
    pub fn new(seed: u64, beside: Beside, dir: &std::path::Path) -> Self {
        Self::of(make(seed, beside, dir))
    }

    /// Walks a made database.
    pub fn of(made: Made) -> Self {
        let mut pages = Vec::new();
        let mut rows: Vec<Vec<Record>> = made.tables.iter().map(|_| Vec::new()).collect();
        let view = View::new(&made.files);
        let schema = view.schema(&mut pages);
        for row in schema.iter().filter(|r| r.root > 0) {
            let mut records = Vec::new();
            view.tree(row.root, true, &row.name, &mut records, &mut pages);
            if let Some(i) = made.tables.iter().position(|t| t.name == row.name) {
                rows[i] = records;
            }
        }
        Self { made, schema, pages, rows }
    }
}

/// What a case of damage left.
pub struct Damaged {
    pub files: Files,
    /// Bytes of the sound files that are gone.
    pub destroyed: Vec<Span>,
    /// Whether bytes kept their offsets.
    pub in_place: bool,
    pub schema_from: bool,
    /// The schema's own bytes are gone and none is given: names cannot be known.
    pub nameless: bool,
}

/// Classes by the names of the notes on `.recover`, with the sidecar each needs.
pub const CLASSES: &[(&str, Beside)] = &[
    ("none", Beside::Nothing),
    ("A1 one cell pointer", Beside::Nothing),
    ("A2 cell pointer, many leaves", Beside::Nothing),
    ("A3 pointer arrays zeroed", Beside::Nothing),
    ("B1 page type zeroed", Beside::Nothing),
    ("B2 page header zeroed", Beside::Nothing),
    ("B3 torn first sector", Beside::Nothing),
    ("B4 torn middle", Beside::Nothing),
    ("B5 leaves zeroed", Beside::Nothing),
    ("B6 first half random", Beside::Nothing),
    ("C1 one root zeroed", Beside::Nothing),
    ("C2 all roots zeroed", Beside::Nothing),
    ("C3 interior zeroed", Beside::Nothing),
    ("D1 overflow zeroed", Beside::Nothing),
    ("D2 overflow next zero", Beside::Nothing),
    ("D3 overflow crossed", Beside::Nothing),
    ("E1 page 1 zeroed", Beside::Nothing),
    ("E1n page 1 zeroed, no schema", Beside::Nothing),
    ("E2 header zeroed", Beside::Nothing),
    ("E3 byte of a CREATE", Beside::Nothing),
    ("F1 wrong page size", Beside::Nothing),
    ("F3 wrong encoding", Beside::Nothing),
    ("F4 start zeroed", Beside::Nothing),
    ("F5 start random", Beside::Nothing),
    ("F6 cut to half", Beside::Nothing),
    ("F7 bytes in front", Beside::Nothing),
    ("F8 bytes inserted", Beside::Nothing),
    ("F9 bytes missing", Beside::Nothing),
    ("G1 leaves swapped", Beside::Nothing),
    ("G2 leaves overwritten", Beside::Nothing),
    ("H1 few bit flips", Beside::Nothing),
    ("H2 many bit flips", Beside::Nothing),
    ("I1 index pages random", Beside::Nothing),
    ("K1 zeroed range", Beside::Nothing),
    ("K2 random sectors", Beside::Nothing),
    ("K3 cut anywhere", Beside::Nothing),
    ("K4 several at once", Beside::Nothing),
    ("S0 sound log", Beside::Wal),
    ("S4 byte of a frame", Beside::Wal),
    ("S5 log magic zeroed", Beside::Wal),
    ("S6 log salt changed", Beside::Wal),
    ("S7 frame header", Beside::Wal),
    ("S9 log cut", Beside::Wal),
    ("S10 log, pages torn", Beside::Wal),
    ("S11 sound journal", Beside::Journal),
    ("S12 journal magic zeroed", Beside::Journal),
    ("S13 journal checksum", Beside::Journal),
];

/// Applies class number `class` to a case.
pub fn apply(class: usize, case: &Case, dice: &mut Dice) -> Damaged {
    let (name, _) = CLASSES[class];
    let key = name.split(' ').next().unwrap();
    let mut files = case.made.files.clone();
    let ps = case.made.page_size;
    let mut schema_from = false;
    let mut nameless = false;
    let sound = &case.made.files;
    match key {
        "F6" | "K3" => {
            let keep = if key == "F6" { files.db.len() / 2 } else { ps + dice.below(files.db.len() - ps) };
            files.db.truncate(keep);
        }
        "F7" => {
            let front = dice.bytes(1000);
            files.db.splice(0..0, front);
            return Damaged { files, destroyed: vec![], in_place: false, schema_from, nameless };
        }
        "F8" => {
            let at = (1 + dice.below(files.db.len() / ps - 1)) * ps;
            let more = dice.bytes(512);
            files.db.splice(at..at, more);
            return Damaged { files, destroyed: vec![], in_place: false, schema_from, nameless };
        }
        "F9" => {
            // One 512-byte sector went missing in the second half or so.
            let at = (1 + dice.below(files.db.len() / ps - 1)) * ps + 512 * dice.below(ps / 512);
            files.db.drain(at..at + 512);
            let destroyed = vec![Span { file: FileId::Db, start: at, end: at + 512 }];
            return Damaged { files, destroyed, in_place: false, schema_from, nameless };
        }
        "G1" => {
            let (a, b) = two_owners(case, dice);
            let (pa, pb) = (sound.db[a..a + ps].to_vec(), sound.db[b..b + ps].to_vec());
            files.db[a..a + ps].copy_from_slice(&pb);
            files.db[b..b + ps].copy_from_slice(&pa);
            return Damaged { files, destroyed: vec![], in_place: false, schema_from, nameless };
        }
        "S9" => {
            let wal = files.wal.as_mut().unwrap();
            let all = frames(wal);
            let at = all[all.len() / 3 + dice.below(all.len() / 2)].2 + dice.below(ps);
            wal.truncate(at);
        }
        "E1" | "F4" | "F5" => {
            schema_from = true;
            let length = if key == "E1" { ps } else { (files.db.len() / 5).div_ceil(ps) * ps };
            let fill = if key == "F5" { dice.bytes(length) } else { vec![0; length] };
            files.db[..length].copy_from_slice(&fill);
        }
        "E1n" => {
            files.db[..ps].fill(0);
            nameless = true;
        }
        "K4" => {
            for _ in 0..2 + dice.below(2) {
                let some = ["A3", "B2", "B3", "C1", "D2", "E2", "G2", "H1", "K2", "I1", "B5"];
                let pick = *dice.pick(&some);
                in_place(pick, case, &mut files, dice);
            }
        }
        other => in_place(other, case, &mut files, dice),
    }
    let destroyed = [FileId::Db, FileId::Wal, FileId::Journal]
        .into_iter()
        .flat_map(|id| differences(id, sound.get(id), files.get(id)))
        .collect();
    Damaged { files, destroyed, in_place: true, schema_from, nameless }
}

/// Offsets of two table leaves of different tables in the main file.
fn two_owners(case: &Case, dice: &mut Dice) -> (usize, usize) {
    let leaves = pages(case, |p| matches!(p.role, Role::TableLeaf) && !p.is_root);
    let a = *dice.pick(&leaves);
    let others: Vec<&PageAt> = leaves.iter().copied().filter(|p| p.owner != a.owner).collect();
    let b = if others.is_empty() { leaves[0] } else { *dice.pick(&others) };
    (a.start, b.start)
}

/// Pages in the main file, the schema's left out.
fn pages(case: &Case, test: impl Fn(&PageAt) -> bool) -> Vec<&PageAt> {
    case.pages.iter().filter(|p| p.file == FileId::Db && p.owner != "sqlite_schema" && test(p)).collect()
}

fn is_scored(case: &Case, owner: &str) -> bool {
    case.made.tables.iter().any(|t| t.name == owner)
}

fn in_place(key: &str, case: &Case, files: &mut Files, dice: &mut Dice) {
    let ps = case.made.page_size;
    // Leaves of the scored tables, WITHOUT ROWID ones included.
    let leaves =
        pages(case, |p| matches!(p.role, Role::TableLeaf | Role::IndexLeaf) && is_scored(case, &p.owner));
    let some: Vec<&PageAt> =
        dice.sample((leaves.len() / 5).max(2), leaves.len()).into_iter().map(|i| leaves[i]).collect();
    let sound = case.made.files.db.clone();
    let db = &mut files.db;
    let count = |start: usize| usize::from(sound[start + 3]) << 8 | usize::from(sound[start + 4]);
    let zero = |db: &mut Vec<u8>, at: usize, n: usize| {
        let end = (at + n).min(db.len());
        if at < end {
            db[at..end].fill(0);
        }
    };
    match key {
        "none" | "S0" | "S11" => {}
        "A1" | "A2" => {
            for p in some.iter().take(if key == "A1" { 1 } else { usize::MAX }) {
                let n = count(p.start);
                if n > 0 {
                    let at = p.start + 8 + 2 * dice.below(n);
                    db[at..at + 2].fill(0xff);
                }
            }
        }
        "A3" => some.iter().for_each(|p| zero(db, p.start + 8, 2 * count(p.start))),
        "B1" => some.iter().for_each(|p| zero(db, p.start, 1)),
        "B2" => some.iter().for_each(|p| zero(db, p.start, 8)),
        "B3" => some.iter().for_each(|p| zero(db, p.start, 512.min(ps / 2))),
        "B4" => some.iter().for_each(|p| zero(db, p.start + ps / 2, 512.min(ps / 4))),
        "B5" => some.iter().for_each(|p| zero(db, p.start, ps)),
        "B6" => {
            for p in &some {
                let random = dice.bytes(ps / 2);
                db[p.start..p.start + ps / 2].copy_from_slice(&random);
            }
        }
        "C1" | "C2" => {
            let roots = pages(case, |p| p.is_root && is_scored(case, &p.owner));
            let skip = dice.below(roots.len());
            for p in roots.iter().cycle().skip(skip).take(if key == "C1" { 1 } else { roots.len() }) {
                zero(db, p.start, ps);
            }
        }
        "C3" => {
            let inner = pages(case, |p| {
                matches!(p.role, Role::TableInterior | Role::IndexInterior) && is_scored(case, &p.owner)
            });
            for i in dice.sample(1 + inner.len() / 3, inner.len()) {
                zero(db, inner[i].start, ps);
            }
        }
        "D1" | "D2" | "D3" => {
            let over = pages(case, |p| p.role == Role::Overflow && is_scored(case, &p.owner));
            let hit = dice.sample(over.len().div_ceil(8), over.len());
            for w in 0..hit.len() {
                let p = over[hit[w]].start;
                match key {
                    "D1" => zero(db, p, ps),
                    "D2" => zero(db, p, 4),
                    _ => {
                        let other = over[hit[(w + 1) % hit.len()]].start;
                        db[p..p + 4].copy_from_slice(&sound[other..other + 4]);
                    }
                }
            }
        }
        "E2" => zero(db, 0, 100),
        "E3" => {
            let tables: Vec<_> = case
                .schema
                .iter()
                .filter(|r| r.kind == "table" && is_scored(case, &r.name) && r.name != "ft_content")
                .collect();
            let row = *dice.pick(&tables);
            // The text is the last value of the record.
            let span = row.record.payload[0];
            let wide = if View::new(&case.made.files).encoding == 1 { 1 } else { 2 };
            let length = row.sql.as_ref().unwrap().encode_utf16().count() * wide;
            let here = length.min(span.end - span.start);
            let first =
                if row.record.payload.len() == 1 { span.end - length } else { span.end - here.min(8) };
            let at = first + dice.below(here.min(span.end - first));
            let junk = *dice.pick(&[0x01_u8, 0x7f, b'#', b'z', b',', 0xff, b' ', b'(']);
            db[at] = if db[at] == junk { b'q' } else { junk };
        }
        "F1" => {
            let wrong = *dice.pick(&[512_u16, 1024, 4096, 8192, 3, 0, 1]);
            let other = u16::from_be_bytes([db[16], db[17]]) != wrong;
            db[16..18].copy_from_slice(&if other { wrong } else { 32768 }.to_be_bytes());
        }
        "F3" => {
            let now = db[59];
            db[59] = if now == 3 { 1 } else { now + 1 + (dice.below(2) as u8).min(2 - now) };
        }
        "G2" => {
            for _ in 0..(leaves.len() / 12).max(1) {
                let (a, b) = two_owners(case, dice);
                let copy = sound[b..b + ps].to_vec();
                db[a..a + ps].copy_from_slice(&copy);
            }
        }
        "H1" | "H2" => {
            let n = if key == "H1" { db.len() / 20_000 } else { db.len() / 1500 };
            for _ in 0..n.max(3) {
                let at = ps + dice.below(db.len() - ps);
                db[at] ^= 1 << dice.below(8);
            }
        }
        "I1" => {
            let index = pages(case, |p| {
                matches!(p.role, Role::IndexLeaf) && !is_scored(case, &p.owner) && !p.owner.contains('_')
                    || p.owner.starts_with("msgs_")
            });
            for i in dice.sample((index.len() / 3).max(1), index.len()) {
                let random = dice.bytes(ps);
                db[index[i].start..index[i].start + ps].copy_from_slice(&random);
            }
        }
        "K1" => {
            let n = db.len() / 12;
            let at = ps + dice.below(db.len() - ps - n);
            zero(db, at, n);
        }
        "K2" => {
            for _ in 0..(db.len() / 512 / 40).max(2) {
                let at = (ps + dice.below(db.len() - ps)) / 512 * 512;
                let random = dice.bytes(512);
                let end = (at + 512).min(db.len());
                db[at..end].copy_from_slice(&random[..end - at]);
            }
        }
        "S4" => {
            let wal = files.wal.as_mut().unwrap();
            let all = frames(wal);
            let at = all[dice.below(all.len())].2 + dice.below(ps);
            wal[at] ^= 0x55;
        }
        "S5" => files.wal.as_mut().unwrap()[..4].fill(0),
        "S6" => files.wal.as_mut().unwrap()[16] ^= 0xff,
        "S7" => {
            // A salt or a checksum of some frames; their page numbers stand.
            let wal = files.wal.as_mut().unwrap();
            let all = frames(wal);
            for i in dice.sample(3, all.len()) {
                wal[all[i].2 - 16 + dice.below(16)] ^= 0x21;
            }
        }
        "S10" => {
            let torn = dice.sample((leaves.len() / 6).max(1), leaves.len());
            for i in torn {
                zero(db, leaves[i].start, 8);
            }
        }
        "S12" => files.journal.as_mut().unwrap()[..8].fill(0),
        "S13" => {
            let journal = files.journal.as_mut().unwrap();
            let all = saved(journal);
            let at = all[dice.below(all.len())].1 + ps + dice.below(4);
            journal[at] ^= 0x10;
        }
        other => panic!("no class {other}"),
    }
}

/// Bytes of the sound file that the damaged one does not have at their place.
fn differences(file: FileId, sound: &[u8], now: &[u8]) -> Vec<Span> {
    let mut out: Vec<Span> = Vec::new();
    for (i, (a, b)) in sound.iter().zip(now).enumerate() {
        if a != b {
            match out.last_mut() {
                Some(last) if last.end == i => last.end = i + 1,
                _ => out.push(Span { file, start: i, end: i + 1 }),
            }
        }
    }
    if now.len() < sound.len() {
        out.push(Span { file, start: now.len(), end: sound.len() });
    }
    out
}

/// The rows that count when the log was cut: those of its last whole commit.
pub fn recut(case: Case, damaged: &Damaged) -> Case {
    let Some(wal) = &damaged.files.wal else { return case };
    let all = frames(wal);
    let keep = all.iter().rposition(|f| f.1 != 0).map_or(0, |i| i + 1);
    let end = all.get(keep.wrapping_sub(1)).map_or(32, |f| f.2 + case.made.page_size);
    let mut made = case.made;
    made.files.wal.as_mut().unwrap().truncate(end);
    Case::of(made)
}
