//! A page walker for sound databases, with the place of every byte of a row.

use std::collections::HashMap;

/// Which of the files of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileId {
    Db,
    Wal,
    Journal,
}

/// The files of one database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    pub db: Vec<u8>,
    pub wal: Option<Vec<u8>>,
    pub journal: Option<Vec<u8>>,
}

impl Files {
    pub fn get(&self, id: FileId) -> &[u8] {
        match id {
            FileId::Db => &self.db,
            FileId::Wal => self.wal.as_deref().unwrap_or_default(),
            FileId::Journal => self.journal.as_deref().unwrap_or_default(),
        }
    }

    pub fn get_mut(&mut self, id: FileId) -> &mut Vec<u8> {
        match id {
            FileId::Db => &mut self.db,
            FileId::Wal => self.wal.get_or_insert_default(),
            FileId::Journal => self.journal.get_or_insert_default(),
        }
    }
}

/// A stretch of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub file: FileId,
    pub start: usize,
    pub end: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Val {
    Null,
    Int(i64),
    Real(u64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

/// One record of a tree.
#[derive(Debug, Clone)]
pub struct Record {
    pub rowid: Option<i64>,
    pub values: Vec<Val>,
    /// Everything that the row needs, in the order of the payload.
    pub spans: Vec<Span>,
    /// Payload spans only, for reading it again after damage.
    pub payload: Vec<Span>,
    pub page: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    TableLeaf,
    TableInterior,
    IndexLeaf,
    IndexInterior,
    Overflow,
}

/// A page of a tree: where it lies and whose it is.
#[derive(Debug, Clone)]
pub struct PageAt {
    pub number: u32,
    pub file: FileId,
    pub start: usize,
    pub role: Role,
    /// Name of the schema object; `sqlite_schema` for the schema itself.
    pub owner: String,
    pub is_root: bool,
}

/// A row of the schema.
#[derive(Debug, Clone)]
pub struct SchemaRow {
    pub kind: String,
    pub name: String,
    pub table: String,
    pub root: u32,
    pub sql: Option<String>,
    pub record: Record,
}

/// The pages of a database as its files say they are.
pub struct View<'a> {
    pub files: &'a Files,
    pub page_size: usize,
    pub usable: usize,
    pub encoding: u32,
    places: HashMap<u32, (FileId, usize)>,
}

pub fn be(bytes: &[u8], at: usize, n: usize) -> u64 {
    bytes[at..at + n].iter().fold(0, |v, &b| v << 8 | u64::from(b))
}

pub fn varint(b: &[u8]) -> (u64, usize) {
    let mut v = 0_u64;
    for (i, byte) in b.iter().take(8).enumerate() {
        v = v << 7 | u64::from(byte & 0x7f);
        if *byte < 0x80 {
            return (v, i + 1);
        }
    }
    (v << 8 | u64::from(b[8]), 9)
}

/// Frames of a log: page, size after commit (0 when none), start of its data.
pub fn frames(wal: &[u8]) -> Vec<(u32, u32, usize)> {
    let size = be(wal, 8, 4) as usize;
    let mut at = 32;
    let mut out = Vec::new();
    while at + 24 + size <= wal.len() {
        if wal[at + 8..at + 16] != wal[16..24] {
            break;
        }
        out.push((be(wal, at, 4) as u32, be(wal, at + 4, 4) as u32, at + 24));
        at += 24 + size;
    }
    out
}

/// Saved pages of a rollback journal: page, start of its data.
pub fn saved(journal: &[u8]) -> Vec<(u32, usize)> {
    let mut out = Vec::new();
    let mut at = 0;
    while at + 28 <= journal.len() && journal[at..at + 8] == [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]
    {
        let count = be(journal, at + 8, 4);
        let sector = be(journal, at + 20, 4) as usize;
        let page = be(journal, at + 24, 4) as usize;
        let mut p = at + sector;
        let mut n = 0;
        while n < count && p + 8 + page <= journal.len() {
            out.push((be(journal, p, 4) as u32, p + 4));
            p += 8 + page;
            n += 1;
        }
        at = p.div_ceil(sector) * sector;
    }
    out
}

impl<'a> View<'a> {
    pub fn new(files: &'a Files) -> Self {
        let mut places = HashMap::new();
        let header = match files.wal.as_deref().map(frames) {
            Some(f) => {
                let last = f.iter().rposition(|f| f.1 != 0).map_or(0, |i| i + 1);
                for (page, _, start) in &f[..last] {
                    places.insert(*page, (FileId::Wal, *start));
                }
                places.get(&1).map_or(&files.db[..100], |(_, s)| &files.get(FileId::Wal)[*s..*s + 100])
            }
            None => &files.db[..100],
        };
        let page_size = match be(header, 16, 2) {
            1 => 65536,
            n => n as usize,
        };
        let usable = page_size - header[20] as usize;
        let encoding = be(header, 56, 4) as u32;
        if let Some(journal) = &files.journal {
            for (page, start) in saved(journal) {
                places.entry(page).or_insert((FileId::Journal, start));
            }
        }
        Self { files, page_size, usable, encoding, places }
    }

    pub fn place(&self, page: u32) -> (FileId, usize) {
        self.places.get(&page).copied().unwrap_or((FileId::Db, (page as usize - 1) * self.page_size))
    }

    pub fn page(&self, page: u32) -> &[u8] {
        let (file, start) = self.place(page);
        &self.files.get(file)[start..start + self.page_size]
    }

    pub fn text(&self, bytes: &[u8]) -> String {
        let units = |f: fn([u8; 2]) -> u16| {
            let u: Vec<u16> = bytes.chunks_exact(2).map(|b| f([b[0], b[1]])).collect();
            String::from_utf16_lossy(&u)
        };
        match self.encoding {
            2 => units(u16::from_le_bytes),
            3 => units(u16::from_be_bytes),
            _ => String::from_utf8_lossy(bytes).into_owned(),
        }
    }

    /// The schema, and the pages it takes.
    pub fn schema(&self, pages: &mut Vec<PageAt>) -> Vec<SchemaRow> {
        let mut records = Vec::new();
        self.tree(1, true, "sqlite_schema", &mut records, pages);
        let text = |v: &Val| match v {
            Val::Text(b) => Some(self.text(b)),
            _ => None,
        };
        records
            .into_iter()
            .map(|r| SchemaRow {
                kind: text(&r.values[0]).unwrap(),
                name: text(&r.values[1]).unwrap(),
                table: text(&r.values[2]).unwrap(),
                root: if let Val::Int(n) = r.values[3] { n as u32 } else { 0 },
                sql: text(&r.values[4]),
                record: r,
            })
            .collect()
    }

    /// Records of a tree in key order, with its pages.
    pub fn tree(
        &self,
        root: u32,
        is_root: bool,
        owner: &str,
        out: &mut Vec<Record>,
        pages: &mut Vec<PageAt>,
    ) {
        let (file, start) = self.place(root);
        let page = self.page(root);
        let at = if root == 1 { 100 } else { 0 };
        let role = match page[at] {
            2 => Role::IndexInterior,
            5 => Role::TableInterior,
            10 => Role::IndexLeaf,
            13 => Role::TableLeaf,
            other => panic!("page {root} of {owner} has type {other}"),
        };
        pages.push(PageAt { number: root, file, start, role, owner: owner.to_owned(), is_root });
        let interior = matches!(role, Role::IndexInterior | Role::TableInterior);
        let head = if interior { 12 } else { 8 };
        for i in 0..be(page, at + 3, 2) as usize {
            let cell = be(page, at + head + 2 * i, 2) as usize;
            let mut p = cell;
            if interior {
                self.tree(be(page, p, 4) as u32, false, owner, out, pages);
                p += 4;
            }
            if role == Role::TableInterior {
                continue;
            }
            let first = p;
            let (length, n) = varint(&page[p..]);
            p += n;
            let mut rowid = None;
            if role == Role::TableLeaf {
                let (id, n) = varint(&page[p..]);
                rowid = Some(id as i64);
                p += n;
            }
            let length = length as usize;
            let local = self.local(role == Role::TableLeaf, length);
            let mut payload = vec![Span { file, start: start + p, end: start + p + local }];
            let mut bytes = page[p..p + local].to_vec();
            let tail = if local < length { 4 } else { 0 };
            let mut spans = vec![Span { file, start: start + first, end: start + p + local + tail }];
            let mut next = if tail > 0 { be(page, p + local, 4) as u32 } else { 0 };
            while bytes.len() < length {
                let (file, start) = self.place(next);
                let page = self.page(next);
                let take = (length - bytes.len()).min(self.usable - 4);
                pages.push(PageAt {
                    number: next,
                    file,
                    start,
                    role: Role::Overflow,
                    owner: owner.to_owned(),
                    is_root: false,
                });
                let last = bytes.len() + take == length;
                spans.push(Span { file, start: start + if last { 4 } else { 0 }, end: start + 4 + take });
                payload.push(Span { file, start: start + 4, end: start + 4 + take });
                bytes.extend(&page[4..4 + take]);
                next = be(page, 0, 4) as u32;
            }
            let values = record(&bytes).expect("a sound record").1;
            out.push(Record { rowid, values, spans, payload, page: root });
        }
        if interior {
            self.tree(be(page, at + 8, 4) as u32, false, owner, out, pages);
        }
    }

    fn local(&self, table_leaf: bool, length: usize) -> usize {
        let u = self.usable;
        let max = if table_leaf { u - 35 } else { (u - 12) * 64 / 255 - 23 };
        if length <= max {
            return length;
        }
        let min = (u - 12) * 32 / 255 - 23;
        let k = min + (length - min) % (u - 4);
        if k <= max { k } else { min }
    }
}

/// Serial types and values of a record; `None` when its lengths do not agree.
pub fn record(bytes: &[u8]) -> Option<(Vec<u64>, Vec<Val>)> {
    let padded: Vec<u8> = bytes.iter().copied().chain([0; 9]).collect();
    let (head, mut at) = varint(&padded);
    let head = usize::try_from(head).ok().filter(|h| *h <= bytes.len())?;
    let mut body = head;
    let (mut types, mut out) = (Vec::new(), Vec::new());
    while at < head {
        let (t, n) = varint(padded.get(at..)?);
        at += n;
        let length = match t {
            0 | 8 | 9 => 0,
            1..=4 => t as usize,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            n => usize::try_from((n - 12) / 2).ok()?,
        };
        let b = bytes.get(body..body.checked_add(length)?)?;
        body += length;
        let int = || {
            b.iter().fold(-i64::from(b.first().is_some_and(|b| b & 0x80 != 0)), |v, &b| v << 8 | i64::from(b))
        };
        types.push(t);
        out.push(match t {
            0 => Val::Null,
            1..=6 => Val::Int(int()),
            7 => Val::Real(int() as u64),
            8 | 9 => Val::Int(t as i64 - 8),
            n if n % 2 == 0 => Val::Blob(b.to_vec()),
            _ => Val::Text(b.to_vec()),
        });
    }
    (at == head && body == bytes.len()).then_some((types, out))
}
