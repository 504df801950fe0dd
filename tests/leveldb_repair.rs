//! Damaged LevelDB stores beside LevelDB's own RepairDB: a rebuild never has
//! fewer right records, lists what is doubtful and counts what is lost.
//!
//! RepairDB comes with plyvel: `SHOPMEND_PLYVEL` names a Python that has it,
//! or `python3` has. `SHOPMEND_LEVELDB_DAMAGES=500` does more than the usual
//! number of damages.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use shopmend::control::Control;
use shopmend::fsys::{Dir, RelPath};
use shopmend::model::{Remedy, Severity, StoreKind};
use shopmend::store::{self, Level, RebuildRequest, Rebuilt, Subject};

use crate::support::skip::skipped;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/leveldb.py");
const USUAL: u64 = 64;

/// A Python that has plyvel.
fn python(test: &str) -> Option<PathBuf> {
    let python = std::env::var_os("SHOPMEND_PLYVEL").unwrap_or_else(|| "python3".into());
    let has = Command::new(&python).args(["-c", "import plyvel"]).stderr(Stdio::null()).status();
    if has.is_ok_and(|status| status.success()) {
        return Some(python.into());
    }
    skipped(test, "no Python has plyvel (PyPI), LevelDB's own repair to compare with");
    None
}

fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Whether the check finds damage.
fn is_damaged(store: &Path) -> bool {
    let dir = Dir::open(store.parent().unwrap()).unwrap();
    let path = RelPath::new(store.file_name().unwrap()).unwrap();
    let subject = Subject { dir: &dir, path: &path };
    let check = store::check(StoreKind::Leveldb, subject, Level::Deep, &Control::default()).unwrap();
    check.findings.iter().any(|f| f.severity == Severity::Error)
}

/// Rebuilds a copy of the store into `out`.
fn rebuilt(store: &Path, out: &Path) -> Rebuilt {
    let copy = out.with_extension("copy");
    copied(store, &copy);
    let (how, control) = (Remedy::Rebuild, Control::default());
    let request = RebuildRequest { copy: &copy, out, how, known: None, control: &control };
    let result = store::rebuild(StoreKind::Leveldb, &request).unwrap();
    assert!(!is_damaged(out), "{result:?}");
    result
}

/// Changes a file as failing disks and interrupted copies do.
fn damage(file: &Path, foreign: &[u8], rng: &mut ChaCha8Rng) -> &'static str {
    let mut bytes = fs::read(file).unwrap();
    let at = rng.random_range(0..bytes.len());
    let sector = at / 512 * 512;
    let kind = match rng.random_range(0..5) {
        0 => {
            bytes[at] ^= 1 << rng.random_range(0..8);
            "bit"
        }
        1 => {
            bytes[at] ^= rng.random_range(1..=255_u8);
            "byte"
        }
        2 => {
            bytes.truncate(at);
            "cut"
        }
        kind => {
            let len = [64, 512, 4096][rng.random_range(0..3)];
            let end = bytes.len().min(sector + len);
            if kind == 3 {
                bytes[sector..end].fill(0);
                "zeros"
            } else {
                bytes[sector..end].copy_from_slice(&foreign[sector % 4096..][..end - sector]);
                "foreign block"
            }
        }
    };
    fs::write(file, bytes).unwrap();
    kind
}

/// The files of a store whose names begin or end so, without empty ones.
fn files(store: &Path, part: &str) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = fs::read_dir(store).unwrap().map(|e| e.unwrap().path()).collect();
    out.retain(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        (name.starts_with(part) || name.ends_with(part)) && fs::metadata(path).unwrap().len() > 0
    });
    out.sort();
    out
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Packs the blocks of every table otherwise, which plyvel's LevelDB is too
/// old to do; the MANIFEST then comes from a rebuild.
fn repacked(store: &Path, out: &Path, zstd: bool) {
    let copy = out.with_extension("repacked");
    copied(store, &copy);
    for table in files(&copy, ".ldb") {
        let old = fs::read(&table).unwrap();
        let block = |offset: u64, size: u64| -> Vec<u8> {
            let part = &old[offset as usize..(offset + size) as usize];
            match old[(offset + size) as usize] {
                0 => part.to_vec(),
                1 => snap::raw::Decoder::new().decompress_vec(part).unwrap(),
                _ => zstd::decode_all(part).unwrap(),
            }
        };
        let mut new = Vec::new();
        let mut put = |plain: &[u8], packed: bool| {
            let start = new.len() as u64;
            let mut stored = if packed { zstd::encode_all(plain, 1).unwrap() } else { plain.to_vec() };
            let mut handle = Vec::new();
            put_varint(&mut handle, start);
            put_varint(&mut handle, stored.len() as u64);
            stored.push(if packed { 2 } else { 0 });
            let sum = crc32c::crc32c(&stored).rotate_right(15).wrapping_add(0xa282_ead8);
            new.extend(stored);
            new.extend(sum.to_le_bytes());
            handle
        };
        let mut footer = &old[old.len() - 48..];
        let (_, _) = (varint(&mut footer), varint(&mut footer));
        let index = block(varint(&mut footer), varint(&mut footer));
        let restarts = u32::from_le_bytes(*index.last_chunk().unwrap()) as usize;
        let mut entries = &index[..index.len() - 4 - restarts * 4];
        // In an index every key is whole.
        let (mut rewritten, mut places) = (Vec::new(), Vec::new());
        while !entries.is_empty() {
            let (shared, key_len, value_len) =
                (varint(&mut entries), varint(&mut entries), varint(&mut entries));
            assert_eq!(shared, 0);
            let (key, rest) = entries.split_at(key_len as usize);
            let (mut value, rest) = rest.split_at(value_len as usize);
            entries = rest;
            let handle = put(&block(varint(&mut value), varint(&mut value)), zstd);
            places.push(rewritten.len() as u32);
            rewritten.push(0);
            put_varint(&mut rewritten, key_len);
            put_varint(&mut rewritten, handle.len() as u64);
            rewritten.extend_from_slice(key);
            rewritten.extend(handle);
        }
        for place in &places {
            rewritten.extend(place.to_le_bytes());
        }
        rewritten.extend((places.len() as u32).to_le_bytes());
        let meta = put(&[0, 0, 0, 0, 1, 0, 0, 0], false);
        let index = put(&rewritten, false);
        let mut footer = [meta, index].concat();
        footer.resize(40, 0);
        new.extend(footer);
        new.extend(0xdb47_7524_8b80_fb57_u64.to_le_bytes());
        fs::write(table, new).unwrap();
    }
    for name in files(&copy, "MANIFEST").into_iter().chain(files(&copy, "CURRENT")) {
        fs::remove_file(name).unwrap();
    }
    let result = rebuilt(&copy, out);
    assert_eq!((result.lost, result.doubtful), (0, 0), "{result:?}");
}

struct Case {
    what: String,
    line: String,
    result: Option<Rebuilt>,
}

#[test]
fn a_rebuild_never_has_fewer_right_records_than_leveldbs_own_repair() {
    let Some(python) = python("a_rebuild_never_has_fewer_right_records_than_leveldbs_own_repair") else {
        return;
    };
    let damages =
        std::env::var("SHOPMEND_LEVELDB_DAMAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(USUAL);
    let tmp = tempfile::tempdir().unwrap();
    let made = Command::new(&python).arg(SCRIPT).arg("make").arg(tmp.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut names: Vec<String> = String::from_utf8(made.stdout).unwrap().lines().map(str::to_owned).collect();
    for per_write in ["1", "300"] {
        let (name, plain) = (format!("{per_write}-tables-zstd"), format!("{per_write}-tables-plain"));
        repacked(&tmp.path().join(&plain), &tmp.path().join(&name), true);
        fs::copy(tmp.path().join(format!("{plain}.json")), tmp.path().join(format!("{name}.json"))).unwrap();
        names.push(name);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut foreign = vec![0; 8192];
    rng.fill(&mut foreign[..4096]);
    foreign[4096..].iter_mut().zip(b"state and ".iter().cycle()).for_each(|(b, c)| *b = *c);

    let mut cases = Vec::new();
    for n in 0..damages {
        let name = &names[n as usize % names.len()];
        let part = match rng.random_range(0..10) {
            0 => "CURRENT",
            1 | 2 => "MANIFEST",
            3..=5 => ".log",
            _ if name.contains("tables") => ".ldb",
            _ => ".log",
        };
        let damaged = tmp.path().join(format!("damaged-{n}"));
        copied(&tmp.path().join(name), &damaged);
        let file = files(&damaged, part);
        let file = &file[rng.random_range(0..file.len())];
        let before = fs::read(file).unwrap();
        let kind = damage(file, &foreign, &mut rng);
        if fs::read(file).unwrap() == before {
            continue;
        }
        let mut ours = tmp.path().join(format!("rebuilt-{n}"));
        let result = if is_damaged(&damaged) {
            Some(rebuilt(&damaged, &ours))
        } else {
            // A log that was cut looks as if its writer had been stopped.
            copied(&damaged, &ours);
            None
        };
        if name.ends_with("zstd") {
            let readable = tmp.path().join(format!("readable-{n}"));
            repacked(&ours, &readable, false);
            ours = readable;
        }
        let what = format!("{n}: {kind} in {} of {name}", file.file_name().unwrap().display());
        let line = format!("{name}\t{}\t{}\n", damaged.display(), ours.display());
        cases.push(Case { what, line, result });
    }

    let mut scorer = Command::new(&python)
        .arg(SCRIPT)
        .arg("score")
        .arg(tmp.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = scorer.stdin.take().unwrap();
    let lines: String = cases.iter().map(|case| case.line.as_str()).collect();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
    let scores = scorer.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(scores.status.success());
    let scores: Vec<Value> =
        String::from_utf8(scores.stdout).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(scores.len(), cases.len());

    let (mut more, mut wrong) = (0, Vec::new());
    for (case, score) in cases.iter().zip(&scores) {
        let number = |name: &str| score[name].as_u64().unwrap();
        let (right, theirs) = (number("right"), number("repair_db"));
        more += right.saturating_sub(theirs);
        if score["opened"] != true || right < theirs {
            wrong.push(format!("{}: {score}", case.what));
        }
        let Some(result) = &case.result else { continue };
        let listed = |list: &str| -> u64 {
            let list = result.details[list].as_array().unwrap();
            list.iter().map(|one| one["records"].as_u64().unwrap()).sum()
        };
        assert_eq!((listed("doubtful"), listed("lost")), (result.doubtful, result.lost), "{}", case.what);
        let unsaid = number("missing") + number("wrong") > 0 && result.lost + result.doubtful == 0;
        let invented =
            result.details["manifest_trusted"] == true && number("never_written") > result.doubtful;
        if unsaid || invented {
            wrong.push(format!("{}: {score} but {result:?}", case.what));
        }
    }
    println!("{} damages: {more} right records more than RepairDB", cases.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
