//! A tiny writer of sound entries, and what the check makes of damaged ones.

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::entry::{self, Name, Part, entry_hash};
use super::hash::super_fast_hash;
use super::*;
use crate::fsys::Dir;
use crate::store::damage::Bench;

fn header(version: u32, key: &str) -> Vec<u8> {
    let mut out = entry::INITIAL_MAGIC.to_le_bytes().to_vec();
    out.extend(version.to_le_bytes());
    out.extend((key.len() as u32).to_le_bytes());
    out.extend(super_fast_hash(key.as_bytes()).to_le_bytes());
    out.extend([0; 4]);
    out.extend(key.as_bytes());
    out
}

fn record(flags: u32, data: &[u8], size: u32) -> Vec<u8> {
    let mut out = 0xf4fa_6f45_970d_41d8_u64.to_le_bytes().to_vec();
    out.extend(flags.to_le_bytes());
    out.extend(crc32fast::hash(data).to_le_bytes());
    out.extend(size.to_le_bytes());
    out.extend([0; 4]);
    out
}

/// The `_0` file of an entry.
pub(in crate::store) fn main_file(key: &str, stream0: &[u8], stream1: &[u8], digest: bool) -> Vec<u8> {
    let mut out = header(5, key);
    out.extend(stream1);
    out.extend(record(1, stream1, 0));
    out.extend(stream0);
    if digest {
        out.extend(Sha256::digest(key.as_bytes()).as_slice());
    }
    out.extend(record(if digest { 3 } else { 1 }, stream0, stream0.len() as u32));
    out
}

fn second_file(key: &str, stream2: &[u8]) -> Vec<u8> {
    let mut out = header(5, key);
    out.extend(stream2);
    out.extend(record(1, stream2, 0));
    out
}

fn sparse_file(key: &str, ranges: &[(u64, &[u8])]) -> Vec<u8> {
    let mut out = header(9, key);
    for (at, data) in ranges {
        out.extend(0xeb97_bf01_6553_676b_u64.to_le_bytes());
        out.extend(at.to_le_bytes());
        out.extend((data.len() as u64).to_le_bytes());
        out.extend(crc32fast::hash(data).to_le_bytes());
        out.extend([0; 4]);
        out.extend(*data);
    }
    out
}

pub(in crate::store) fn stem(key: &str) -> String {
    format!("{:016x}", entry_hash(key.as_bytes()))
}

pub(in crate::store) fn index() -> Vec<u8> {
    let mut out = entry::INITIAL_MAGIC.to_le_bytes().to_vec();
    out.extend(9u32.to_le_bytes());
    out.extend([0; 12]);
    out
}

/// A sound cache of three entries: plain, with a second file, sparse.
fn sound() -> Bench {
    let bench = Bench::new("cache");
    bench.write("cache/index", index());
    for (key, body) in [("http://a/1", vec![7; 9000]), ("http://a/22", (0..=255).collect())] {
        bench.write(&format!("cache/{}_0", stem(key)), main_file(key, b"headers", &body, true));
    }
    bench.write(&format!("cache/{}_1", stem("http://a/22")), second_file("http://a/22", &[3; 700]));
    let key = "http://a/333";
    bench.write(&format!("cache/{}_0", stem(key)), main_file(key, b"sparse headers", b"", false));
    bench.write(&format!("cache/{}_s", stem(key)), sparse_file(key, &[(0, &[1; 500]), (9000, &[2; 40])]));
    bench
}

fn deep(subject: Subject<'_>) -> Result<Tally, StoreError> {
    examine(subject, Level::Deep, &Control::default())
}

#[test]
fn damage_under_a_checksum_is_found_in_the_right_file() {
    sound().every_damage_is_found(11, &deep);
    sound().any_damage_is_survived(87, &deep);
}

#[test]
fn damage_of_the_structure_is_found_without_reading_the_streams() {
    sound().every_damage_is_found(12, &|subject| examine(subject, Level::Fast, &Control::default()));
}

/// A newer program's cache is not damaged for being newer, nor sound.
#[test]
fn a_version_that_is_not_known_is_neither_sound_nor_damaged() {
    let outcome = |bench: &Bench, level| {
        let dir = Dir::open(bench.path()).unwrap();
        check(Subject { dir: &dir, path: &RelPath::new("cache").unwrap() }, level, &Control::default())
    };
    let of_version = |key: &str, body: &[u8], version: u8| {
        let mut bytes = main_file(key, b"headers", body, true);
        bytes[8] = version;
        bytes
    };
    for level in [Level::Fast, Level::Deep] {
        // By its index.
        let bench = sound();
        let mut newer = index();
        newer[8] = 10;
        bench.write("cache/index", newer);
        assert!(matches!(outcome(&bench, level), Err(StoreError::UnknownForm { .. })));
        // By most of its entries, and by one of them.
        let bench = sound();
        let name = format!("cache/{}_0", stem("http://a/1"));
        bench.write(&name, of_version("http://a/1", &vec![7; 90_000], 6));
        assert!(matches!(outcome(&bench, level), Err(StoreError::UnknownForm { .. })));
        bench.write(&name, of_version("http://a/1", &[7; 90], 6));
        let one = outcome(&bench, level).unwrap();
        assert_eq!(one.findings, []);
        assert!(one.not_checked.iter().any(|n| n.contains("versions that are not known: {6}")), "{one:?}");
        // A version beside a key that is not sound is damage.
        let mut bad = of_version("http://a/1", &[7; 90], 6);
        bad[24] ^= 1;
        bench.write(&name, bad);
        assert!(outcome(&bench, level).unwrap().findings.iter().any(|f| f.code == "simple-cache.header"));
        bench.write(&name, of_version("http://a/1", &[7; 90], 0xa5));
        assert!(outcome(&bench, level).unwrap().findings.iter().any(|f| f.code == "simple-cache.header"));
        // What is not of the format counts, and may be the most of it.
        let bench = sound();
        bench.write("cache/dump.bin", vec![1; 1000]);
        let with_other = outcome(&bench, level).unwrap();
        let alone = outcome(&sound(), level).unwrap();
        assert_eq!(with_other.coverage.bytes_seen, alone.coverage.bytes_seen + 1000);
        bench.write("cache/dump.bin", vec![1; 1 << 20]);
        assert!(matches!(outcome(&bench, level), Err(StoreError::UnknownForm { .. })));
    }
}

#[test]
fn it_is_recognised_by_its_index_or_by_its_entries() {
    let bench = sound();
    let kind = |bench: &Bench| {
        let dir = Dir::open(bench.path()).unwrap();
        crate::store::recognise(Subject { dir: &dir, path: &RelPath::new("cache").unwrap() }).unwrap()
    };
    assert_eq!(kind(&bench), Some(StoreKind::SimpleCache));
    bench.write("cache/index", b"broken");
    assert_eq!(kind(&bench), Some(StoreKind::SimpleCache));
    assert_eq!(bench.codes(&deep), ["simple-cache.index"]);
}

#[test]
fn every_file_of_a_damaged_entry_is_named() {
    let bench = sound();
    let key = "http://a/22";
    let mut bytes = main_file(key, b"headers", &[9; 80], true);
    bytes[40] ^= 1;
    bench.write(&format!("cache/{}_0", stem(key)), bytes);
    let findings = bench.findings(&deep);
    let files: Vec<String> =
        findings.iter().map(|f| f.evidence.file.clone().unwrap_or_default().to_text()).collect();
    assert_eq!(files, [format!("{}_0", stem(key)), format!("{}_1", stem(key))]);
    assert_eq!(findings[0].code, "simple-cache.crc");
    assert_eq!(findings[0].evidence.offset, Some(24 + key.len() as u64));
    assert!(findings.iter().all(|f| f.remedy == Remedy::ClearEntry));
}

#[test]
fn a_second_file_alone_is_an_orphan() {
    let bench = sound();
    bench.write(&format!("cache/{}_1", stem("gone")), second_file("gone", b"x"));
    assert_eq!(bench.codes(&deep), ["simple-cache.orphan"]);
}

#[test]
fn a_stream_without_a_checksum_is_said_to_be_unchecked() {
    let bench = sound();
    let key = "http://b";
    let mut bytes = header(5, key);
    bytes.extend(b"body");
    bytes.extend(record(0, b"", 0));
    bytes.extend(b"head");
    bytes.extend(record(0, b"", 4));
    bench.write(&format!("cache/{}_0", stem(key)), bytes);
    let check = bench.run(&deep).unwrap().done();
    assert_eq!(check.findings, []);
    assert!(check.not_checked.iter().any(|n| n.contains("2 streams")), "{:?}", check.not_checked);
}

#[test]
fn entries_group_the_files_and_know_leftovers() {
    let bench = sound();
    bench.write("cache/todelete_0000000000000001", b"x").write("cache/index-dir/temp-index", b"x");
    bench.write("cache/notes.txt", b"x").write(&format!("cache/{}_s", stem("gone")), b"x");
    let dir = Dir::open(bench.path()).unwrap();
    let listed = entries(Subject { dir: &dir, path: &RelPath::new("cache").unwrap() }).unwrap();
    assert_eq!(listed.entries.len(), 3);
    assert_eq!(listed.entries.iter().map(|e| e.files.len()).sum::<usize>(), 5);
    assert_eq!(listed.leftovers.len(), 3);
    assert_eq!(listed.control, [RelPath::new("index").unwrap()]);
    assert_eq!(listed.unknown, [RelPath::new("notes.txt").unwrap()]);
}

proptest! {
    #[test]
    fn anything_may_be_in_an_entry_file(bytes in prop::collection::vec(any::<u8>(), 0..300), key in "[a-z]{0,9}") {
        let mut file = header(5, &key);
        file.extend(&bytes);
        for part in [Part::Main, Part::Second, Part::Sparse] {
            let name = Name { hash: entry_hash(key.as_bytes()), part };
            let _ = entry::check(&bytes, name, Level::Deep).unwrap();
            let _ = entry::check(&file, name, Level::Deep).unwrap();
        }
    }

    #[test]
    fn a_sound_entry_is_sound_and_a_changed_one_is_not(
        key in "[ -~]{0,80}",
        stream0 in prop::collection::vec(any::<u8>(), 1..300),
        stream1 in prop::collection::vec(any::<u8>(), 1..3000),
        at in any::<prop::sample::Index>(),
        xor in 1u8..,
    ) {
        let good = main_file(&key, &stream0, &stream1, true);
        let name = Name { hash: entry_hash(key.as_bytes()), part: Part::Main };
        let report = entry::check(&good, name, Level::Deep).unwrap();
        prop_assert_eq!(&report.findings, &vec![]);
        let at = at.index(good.len());
        let mut bad = good.clone();
        bad[at] ^= xor;
        let vouched = report.vouched.iter().any(|r| r.contains(&(at as u64)));
        let damaged = entry::check(&bad, name, Level::Deep).unwrap();
        prop_assert!(!vouched || !damaged.findings.is_empty(), "byte {} of {}", at, good.len());
    }
}
