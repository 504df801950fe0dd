//! A tiny writer of sound stores, and what the check makes of damaged ones.

use proptest::prelude::*;

use super::coding::{put_prefixed, put_varint};
use super::log::LogWriter;
use super::table::Handle;
use super::*;
use crate::fsys::Dir;
use crate::store::damage::Bench;

/// How the blocks of a table are stored.
#[derive(Clone, Copy)]
enum Packing {
    Plain,
    Snappy,
    Zstd,
}

fn internal(user: &str, sequence: u64) -> Vec<u8> {
    let mut key = user.as_bytes().to_vec();
    key.extend((sequence << 8 | 1).to_le_bytes());
    key
}

/// A table of blocks of (user key, sequence, value).
fn table_file(blocks: &[Vec<(String, u64, Vec<u8>)>], packing: Packing) -> Vec<u8> {
    let mut out = Vec::new();
    let mut index = Vec::new();
    for entries in blocks {
        let keys: Vec<Vec<u8>> = entries.iter().map(|(k, s, _)| internal(k, *s)).collect();
        let pairs: Vec<(&[u8], Vec<u8>)> =
            keys.iter().zip(entries).map(|(k, (_, _, v))| (k.as_slice(), v.clone())).collect();
        let plain = table::block(&pairs);
        let (mut stored, kind) = match packing {
            Packing::Plain => (plain, 0),
            Packing::Snappy => (snap::raw::Encoder::new().compress_vec(&plain).unwrap(), 1),
            Packing::Zstd => (zstd::bulk::compress(&plain, 1).unwrap(), 2),
        };
        let handle = Handle { offset: out.len() as u64, size: stored.len() as u64 };
        stored.push(kind);
        let crc = log::mask(crc32c::crc32c(&stored));
        out.extend(stored);
        out.extend(crc.to_le_bytes());
        index.push((keys.last().unwrap().clone(), handle));
    }
    let ending = table::ending(out.len() as u64, &index);
    out.extend(ending);
    out
}

/// Blocks of ten keys each: `k000`, `k001`, ...
fn blocks(from: usize, count: usize, sequence: u64) -> Vec<Vec<(String, u64, Vec<u8>)>> {
    let one = |i: usize| (format!("k{i:03}"), sequence + i as u64, vec![i as u8; 90 + i % 7]);
    (0..count).map(|b| (0..10).map(|i| one(from + b * 10 + i)).collect()).collect()
}

fn batch(sequence: u64, puts: &[(&str, &str)]) -> Vec<u8> {
    let mut out = sequence.to_le_bytes().to_vec();
    out.extend((puts.len() as u32).to_le_bytes());
    for (key, value) in puts {
        out.push(1);
        put_prefixed(&mut out, key.as_bytes());
        put_prefixed(&mut out, value.as_bytes());
    }
    out
}

fn log_file(records: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = LogWriter::default();
    for record in records {
        writer.append(&mut out, record).unwrap();
    }
    out
}

/// A sound store: three tables of different packings, a log, a MANIFEST of
/// two edits.
fn sound() -> Bench {
    let bench = Bench::new("db");
    let tables = [
        (2, 5, blocks(0, 6, 1), Packing::Snappy),
        (2, 7, blocks(60, 5, 1), Packing::Plain),
        (1, 9, blocks(20, 5, 500), Packing::Zstd),
    ];
    let mut version = Version {
        log_number: Some(10),
        prev_log_number: Some(0),
        next_file: Some(11),
        last_sequence: Some(900),
        ..Version::default()
    };
    for (level, number, blocks, packing) in tables {
        let file = table_file(&blocks, packing);
        let (first, last) = (&blocks[0][0], blocks.last().unwrap().last().unwrap());
        version.tables.insert(
            number,
            TableMeta {
                level,
                number,
                size: file.len() as u64,
                smallest: internal(&first.0, first.1),
                largest: internal(&last.0, last.1),
            },
        );
        bench.write(&format!("db/{number:06}.ldb"), file);
    }
    let mut name = Vec::new();
    put_varint(&mut name, 1);
    put_prefixed(&mut name, order::BYTEWISE);
    bench.write("db/MANIFEST-000004", log_file(&[name, version.encode()]));
    bench.write("db/CURRENT", "MANIFEST-000004\n");
    let long = "v".repeat(40_000);
    let writes = [
        batch(901, &[("k001", "new"), ("z1", "one")]),
        batch(903, &[("z2", &long)]),
        batch(904, &[("z3", "three")]),
    ];
    bench.write("db/000010.log", log_file(&writes));
    bench.write("db/LOCK", "").write("db/LOG", "chatter");
    bench
}

fn deep(subject: Subject<'_>) -> Result<Tally, StoreError> {
    examine_store(subject, Level::Deep, &Control::default())
}

fn kind(bench: &Bench) -> Option<StoreKind> {
    let dir = Dir::open(bench.path()).unwrap();
    crate::store::recognise(Subject { dir: &dir, path: &RelPath::new("db").unwrap() }).unwrap()
}

#[test]
fn damage_under_a_checksum_is_found_in_the_right_file() {
    sound().every_damage_is_found(21, &deep);
    sound().any_damage_is_survived(88, &deep);
}

/// User data lies in the tables: what a fast check calls healthy was read.
#[test]
fn a_fast_check_reads_small_tables_to_their_last_block() {
    let fast = |s: Subject<'_>| examine_store(s, Level::Fast, &Control::default());
    sound().every_damage_is_found(22, &fast);
    let bench = sound();
    assert_eq!(bench.run(&fast).unwrap().done().coverage, bench.run(&deep).unwrap().done().coverage);
}

#[test]
fn a_fast_check_of_large_tables_says_what_it_left_out() {
    let bench = sound();
    // Its length alone counts: it is no part of the store.
    let large = std::fs::File::create(bench.path().join("db/000003.ldb")).unwrap();
    large.set_len(CHEAP_TABLES).unwrap();
    let check = bench.run(&|s| examine_store(s, Level::Fast, &Control::default())).unwrap().done();
    assert!(check.not_checked.iter().any(|why| why.contains("data blocks")), "{:?}", check.not_checked);
    assert_eq!(check.findings, []);
}

#[test]
fn a_sound_store_is_covered_but_for_its_chatter() {
    let check = sound().run(&deep).unwrap().done();
    let unsure = check.coverage.bytes_seen - check.coverage.bytes_verified;
    // The padding of three footers.
    assert!(unsure < 3 * 40, "{:?}", check.coverage);
    assert_eq!(check.not_checked, [format!("{unsure} bytes that no checksum covers, such as padding")]);
}

/// Chromium makes the folders of features that were never used.
#[test]
fn a_folder_in_which_nothing_was_stored_is_sound() {
    let bench = Bench::new("new");
    bench.write("new/LOCK", b"").write("new/LOG", b"");
    assert_eq!(bench.findings(&deep), Vec::<Finding>::new());
}

#[test]
fn lost_files_are_named() {
    for (lost, code) in [
        ("CURRENT", "leveldb.current"),
        ("MANIFEST-000004", "leveldb.manifest"),
        ("000007.ldb", "leveldb.missing-table"),
        ("000010.log", "leveldb.missing-log"),
    ] {
        let bench = sound();
        std::fs::remove_file(bench.path().join("db").join(lost)).unwrap();
        assert_eq!(kind(&bench), Some(StoreKind::Leveldb), "{lost}");
        let findings = bench.findings(&deep);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].code, code);
        assert_eq!(findings[0].remedy, Remedy::Rebuild);
    }
}

#[test]
fn what_only_looks_odd_is_no_damage() {
    let bench = sound();
    bench
        .write("db/000003.ldb", b"left over")
        .write("db/000002.log", b"left over")
        .write("db/000008.dbtmp", b"x");
    let mut log = log_file(&[batch(901, &[("a", "b")]), batch(902, &[("c", "d")])]);
    log.truncate(log.len() - 4);
    bench.write("db/000010.log", log);
    let check = bench.run(&deep).unwrap().done();
    assert_eq!(bench.codes(&deep), ["leveldb.log-tail"]);
    assert!(check.findings.iter().all(|f| f.severity == Severity::Info && f.remedy == Remedy::None));
    assert!(check.not_checked[0].starts_with("000003.ldb"), "{:?}", check.not_checked);
}

#[test]
fn the_browsers_own_mark_is_damage() {
    let bench = sound();
    bench.write("db/corruption_info.json", "{}");
    assert_eq!(bench.codes(&deep), ["leveldb.flagged"]);
}

#[test]
fn keys_out_of_order_are_found_where_the_order_is_known() {
    let bench = sound();
    let mut bad = blocks(0, 6, 1);
    bad[3].swap(2, 5);
    let file = table_file(&bad, Packing::Snappy);
    bench.write("db/000005.ldb", &file);
    let codes = bench.codes(&deep);
    assert!(codes.contains(&"leveldb.block".to_owned()), "{codes:?}");
}

#[test]
fn a_block_that_claims_to_unpack_to_gigabytes_is_refused() {
    let mut packed = Vec::new();
    put_varint(&mut packed, u64::from(u32::MAX));
    packed.extend([0; 20]);
    packed.push(1);
    assert!(table::unpack(&packed).is_err());
    let mut bomb = zstd::bulk::compress(&vec![0; 300 << 20], 1).unwrap();
    bomb.push(2);
    assert!(table::unpack(&bomb).is_err());
}

proptest! {
    #[test]
    fn anything_may_be_in_a_table(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0usize..2000) {
        let good = table_file(&blocks(0, 2, 1), Packing::Plain);
        let mut file = good[..cut % good.len()].to_vec();
        file.extend(&bytes);
        file.extend(&good[good.len() - 48..]);
        let report = examine::table(&file, Order::Bytewise, Level::Deep, &Control::default());
        prop_assert!(report.is_ok());
        let _ = table::each_entry(&bytes, |_, _| Ok(()));
        let _ = table::unpack(&bytes);
    }

    #[test]
    fn a_changed_table_is_never_called_sound(at in any::<prop::sample::Index>(), xor in 1u8..) {
        let good = table_file(&blocks(0, 3, 1), Packing::Snappy);
        let report = examine::table(&good, Order::Bytewise, Level::Deep, &Control::default()).ok().unwrap();
        prop_assert!(report.faults.is_empty());
        let at = at.index(good.len());
        let mut bad = good.clone();
        bad[at] ^= xor;
        let vouched = report.vouched.iter().any(|r| r.contains(&(at as u64)));
        let report = examine::table(&bad, Order::Bytewise, Level::Deep, &Control::default()).ok().unwrap();
        prop_assert!(!vouched || !report.faults.is_empty());
    }
}

mod rebuilding {
    use std::collections::BTreeMap;
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::store::{RebuildRequest, Rebuilt};

    /// What a reader of the store finds: the newest value of each key.
    fn records(store: &Path) -> BTreeMap<String, Vec<u8>> {
        let dir = Dir::open(store).unwrap();
        let root = RelPath::root();
        let subject = Subject { dir: &dir, path: &root };
        let folder = Folder::list(subject).unwrap();
        let mut out = Tally::new(StoreKind::Leveldb, "");
        let number = read_current(subject, &folder, &mut out).unwrap().unwrap();
        let version = read_manifest(subject, &folder, number, &mut out).unwrap().unwrap();
        // Level 0 by number, the highest first, then the deeper levels: the
        // first table that has a key decides, whatever its sequence number.
        let mut tables: Vec<&TableMeta> = version.tables.values().collect();
        tables.sort_by_key(|t| (t.level, std::cmp::Reverse(t.number)));
        let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for table in tables {
            let bytes = std::fs::read(store.join(format!("{:06}.ldb", table.number))).unwrap();
            let footer = table::footer(&bytes).unwrap().unwrap();
            let index = table::read_raw(&bytes, footer.index).unwrap().unwrap().into_owned();
            let mut here: BTreeMap<String, Vec<u8>> = BTreeMap::new();
            for (_, handle) in table::index_entries(&table::unpack(&index).unwrap()).unwrap() {
                let raw = table::read_raw(&bytes, handle).unwrap().unwrap().into_owned();
                table::each_entry(&table::unpack(&raw).unwrap(), |key, value| {
                    let key = coding::InternalKey::parse(key).unwrap();
                    here.entry(String::from_utf8_lossy(key.user).into_owned())
                        .or_insert_with(|| value.to_vec());
                    Ok(())
                })
                .unwrap();
            }
            for (key, value) in here {
                found.entry(key).or_insert(value);
            }
        }
        for (number, file) in &folder.logs {
            assert!(version.needs_log(*number));
            let bytes = std::fs::read(store.join(file.rel.as_path())).unwrap();
            log::read(&bytes, &mut |item| {
                let Item::Record { data, .. } = item else { panic!("{item:?}") };
                let mut rest = coding::Slice(&data[12..]);
                while !rest.is_empty() {
                    let kind = rest.byte();
                    // A doubtful key may be anything.
                    let key = String::from_utf8_lossy(rest.prefixed().unwrap()).into_owned();
                    if kind == Some(1) {
                        found.insert(key, rest.prefixed().unwrap().to_vec());
                    } else {
                        found.remove(&key);
                    }
                }
            })
            .unwrap();
        }
        found
    }

    fn rebuilt(bench: &Bench) -> (Rebuilt, BTreeMap<String, Vec<u8>>) {
        let control = Control::default();
        let (copy, out) = (bench.path().join("db"), bench.path().join("new"));
        let request =
            RebuildRequest { copy: &copy, out: &out, how: Remedy::Rebuild, known: None, control: &control };
        let result = crate::store::rebuild(StoreKind::Leveldb, &request).unwrap();
        let dir = Dir::open(bench.path()).unwrap();
        let path = RelPath::new("new").unwrap();
        let check = check(Subject { dir: &dir, path: &path }, Level::Deep, &control).unwrap();
        assert_eq!(check.findings, []);
        (result, records(&out))
    }

    /// The keys of the block of `table` at `n`, by the sample's making.
    fn keys(from: usize, n: usize) -> Vec<String> {
        (0..10).map(|i| format!("k{:03}", from + n * 10 + i)).collect()
    }

    fn change(bench: &Bench, name: &str, at: impl Fn(usize) -> usize) {
        let path = bench.path().join("db").join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at(bytes.len());
        bytes[at] ^= 0x55;
        std::fs::write(path, bytes).unwrap();
    }

    /// Overwrites the block at `n` of the table of plain blocks.
    fn smash_block(bench: &Bench, n: usize) {
        let path = bench.path().join("db/000007.ldb");
        let mut bytes = std::fs::read(&path).unwrap();
        let footer = table::footer(&bytes).unwrap().unwrap();
        let index = table::read_raw(&bytes, footer.index).unwrap().unwrap().into_owned();
        let (_, handle) = table::index_entries(&table::unpack(&index).unwrap()).unwrap()[n].clone();
        bytes[handle.offset as usize..(handle.offset + handle.size) as usize].fill(0xaa);
        std::fs::write(path, bytes).unwrap();
    }

    /// Changes so many bytes that no checksum can tell which.
    fn smash(bench: &Bench, name: &str, at: impl Fn(usize) -> usize) {
        let path = bench.path().join("db").join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at(bytes.len());
        bytes[at..at + 20].iter_mut().for_each(|b| *b ^= 0x55);
        std::fs::write(path, bytes).unwrap();
    }

    fn all() -> BTreeMap<String, Vec<u8>> {
        records(&sound().path().join("db"))
    }

    #[test]
    fn nothing_is_lost_with_current_manifest_index_or_footer() {
        for (name, what) in [("CURRENT", 0), ("MANIFEST-000004", 0), ("000005.ldb", 20), ("000005.ldb", 60)] {
            let bench = sound();
            match what {
                0 => std::fs::remove_file(bench.path().join("db").join(name)).unwrap(),
                back => change(&bench, name, |len| len - back),
            }
            let (result, found) = rebuilt(&bench);
            assert_eq!((result.lost, result.doubtful), (0, 0), "{name} {what}: {result:?}");
            assert!(found == all(), "{name} {what}");
        }
    }

    #[test]
    fn a_log_that_an_old_manifest_names_is_no_loss_and_a_live_one_is() {
        let bench = sound();
        std::fs::remove_file(bench.path().join("db/000010.log")).unwrap();
        let (result, _) = rebuilt(&bench);
        assert_eq!((result.lost, &result.details["lost"][0]["at_least"]), (1, &json!(true)), "{result:?}");
        let bench = sound();
        let log = bench.path().join("db/000010.log");
        std::fs::rename(&log, log.with_file_name("000020.log")).unwrap();
        // It knows nothing of this table, so it is not the last.
        bench.write("db/000012.ldb", table_file(&blocks(60, 1, 2000), Packing::Plain));
        let (result, _) = rebuilt(&bench);
        assert_eq!((result.lost, result.doubtful), (0, 0), "{result:?}");
    }

    #[test]
    fn a_damaged_manifest_costs_nothing_either() {
        let bench = sound();
        change(&bench, "MANIFEST-000004", |len| len - 30);
        let (result, found) = rebuilt(&bench);
        assert_eq!(result.lost, 0);
        assert!(found == all());
        assert_eq!(result.details["comparator"], "leveldb.BytewiseComparator");
    }

    #[test]
    fn a_bad_block_costs_its_own_keys_and_they_are_told() {
        let bench = sound();
        smash_block(&bench, 0);
        let (result, found) = rebuilt(&bench);
        assert_eq!((result.lost, result.doubtful), (10, 0), "{result:?}");
        assert_eq!(result.details["lost"][0]["keys_up_to"], "k069");
        let mut expected = all();
        // The newer table covers k020 to k069, so the old values were hidden.
        for key in keys(60, 0) {
            assert!(expected.contains_key(&key));
        }
        assert!(found == expected, "the lost block was hidden by a newer table");
        let bench = sound();
        smash_block(&bench, 2);
        let (result, found) = rebuilt(&bench);
        assert_eq!((result.lost, result.doubtful), (10, 0), "{result:?}");
        let gone: Vec<String> = expected.keys().filter(|k| !found.contains_key(*k)).cloned().collect();
        assert_eq!(gone, keys(60, 2));
        expected.retain(|k, _| !gone.contains(k));
        assert!(found == expected);
    }

    #[test]
    fn a_bad_write_costs_itself_alone() {
        let bench = sound();
        // The middle one of three writes spans two blocks of the log, and its
        // value is so long that the damage shows in nothing else.
        smash(&bench, "000010.log", |len| len / 2);
        let (result, found) = rebuilt(&bench);
        assert_eq!((result.lost, result.doubtful), (0, 1), "{result:?}");
        let doubt = &result.details["doubtful"][0];
        assert_eq!(
            (&doubt["file"], &doubt["keys_from"], &doubt["records"]),
            (&json!("000010.log"), &json!("z2"), &json!(1))
        );
        let mut expected = all();
        let (right, read) = (expected.get_mut("z2").unwrap(), &found["z2"]);
        assert_eq!(right.iter().zip(read).filter(|(a, b)| a != b).count(), 20);
        right.clone_from(read);
        assert!(found == expected);
    }

    #[test]
    fn a_lost_table_is_told_by_its_keys_and_a_backup_serves() {
        let bench = sound();
        let table = bench.path().join("db/000007.ldb");
        std::fs::rename(&table, table.with_extension("bak")).unwrap();
        let (result, found) = rebuilt(&bench);
        assert_eq!(result.lost, 0);
        assert!(found == all());
        let bench = sound();
        std::fs::remove_file(bench.path().join("db/000007.ldb")).unwrap();
        let (result, found) = rebuilt(&bench);
        assert!(result.lost > 0);
        assert_eq!(result.details["lost"][0]["keys_after"], "k060");
        assert_eq!(all().len() - found.len(), 40);
    }

    #[test]
    fn the_order_of_indexed_db_is_known_by_its_keys_when_no_manifest_names_it() {
        let bench = Bench::new("db");
        let blocks = vec![vec![("\0\0\0\0\0".to_owned(), 1, vec![1])]];
        bench
            .write("db/000005.ldb", table_file(&blocks, Packing::Plain))
            .write("db/CURRENT", "MANIFEST-000001\n");
        let (result, _) = rebuilt(&bench);
        assert_eq!(result.details["comparator"], "idb_cmp1");
    }

    #[test]
    fn other_stores_in_the_folder_stay() {
        let bench = sound();
        bench.write("db/metadata/CURRENT", "MANIFEST-000001\n").write("db/corruption_info.json", "{}");
        rebuilt(&bench);
        assert!(bench.path().join("new/metadata/CURRENT").exists());
        assert!(!bench.path().join("new/corruption_info.json").exists());
    }

    #[test]
    fn nothing_is_made_of_nothing() {
        let bench = Bench::new("db");
        bench.write("db/CURRENT", "MANIFEST-000001\n");
        let control = Control::default();
        let (copy, out) = (bench.path().join("db"), bench.path().join("new"));
        let how = Remedy::Rebuild;
        let request = RebuildRequest { copy: &copy, out: &out, how, known: None, control: &control };
        assert!(matches!(rebuild(&request), Err(StoreError::CannotRebuild { .. })));
        assert!(!out.exists());
    }

    /// What a browser stores for one site in one write: 300 settings.
    fn settings() -> (Bench, BTreeMap<String, Vec<u8>>) {
        let all: Vec<(String, String)> =
            (0..300).map(|i| (format!("setting.{i:03}"), format!("{i:03}").repeat(70))).collect();
        let puts: Vec<(&str, &str)> = all.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let bench = sound();
        bench.write("db/000010.log", log_file(&[batch(901, &puts), batch(1201, &[("z", "last")])]));
        let all = records(&bench.path().join("db"));
        (bench, all)
    }

    #[test]
    fn one_wrong_bit_in_a_large_write_costs_nothing_and_its_record_is_named() {
        let (bench, all) = settings();
        let path = bench.path().join("db/000010.log");
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        std::fs::write(path, bytes).unwrap();
        let (result, found) = rebuilt(&bench);
        assert_eq!((result.lost, result.doubtful), (0, 1), "{result:?}");
        let doubt = &result.details["doubtful"][0];
        assert_eq!(doubt["keys_from"], doubt["keys_to"]);
        assert!(doubt["keys_from"].as_str().unwrap().starts_with("setting.1"), "{doubt}");
        assert!(found == all);
    }

    #[test]
    fn a_lost_part_of_a_large_write_costs_its_own_records_and_they_are_counted() {
        for len in [512, 4096] {
            let (bench, all) = settings();
            let path = bench.path().join("db/000010.log");
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle..middle + len].fill(0);
            std::fs::write(path, bytes).unwrap();
            let (result, found) = rebuilt(&bench);
            let gone = all.keys().filter(|k| !found.contains_key(*k)).count();
            assert!(gone as u64 == result.lost || gone as u64 == result.lost + 1, "{gone} {result:?}");
            // 224 bytes each; one record is cut by each end of the damage.
            assert!((1..=len / 224 + 1).contains(&gone), "{gone}");
            let wrong = all.iter().filter(|(k, v)| found.get(*k).is_some_and(|f| f != *v)).count();
            assert!(wrong <= 1, "{wrong}");
            let range = &result.details["lost"][0];
            assert_eq!(range["sequences"][1], 1201, "{range}");
            assert!(
                range["keys_after"].as_str().unwrap() < range["keys_before"].as_str().unwrap(),
                "{range}"
            );
        }
    }

    #[test]
    fn what_is_lost_is_taken_from_tables_that_the_store_no_longer_names() {
        let bench = sound();
        // What a compaction made table 7 of was not yet removed.
        bench.write("db/000003.ldb", table_file(&blocks(60, 5, 1), Packing::Zstd));
        smash_block(&bench, 3);
        let (result, found) = rebuilt(&bench);
        assert!(found == all());
        assert_eq!((result.lost, result.doubtful), (0, 10), "{result:?}");
        assert_eq!(result.details["doubtful"][0]["file"], "000003.ldb");
        assert_eq!(result.details["doubtful"][0]["keys_from"], "k090");
    }

    #[test]
    fn a_write_that_is_lost_is_proven_by_its_number_in_another_table() {
        let (bench, all) = settings();
        // The log became a table, but no MANIFEST says so yet.
        let entry = |i: u64| (format!("setting.{i:03}"), 901 + i, format!("{i:03}").repeat(70).into_bytes());
        bench.write("db/000012.ldb", table_file(&[(0..300).map(entry).collect()], Packing::Plain));
        let path = bench.path().join("db/000010.log");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[10_000..20_000].fill(0xaa);
        std::fs::write(path, bytes).unwrap();
        let (result, found) = rebuilt(&bench);
        assert_eq!(result.lost, 0, "{result:?}");
        // One record has its head before the damage and is doubtful for its tail.
        let wrong = all.iter().filter(|(k, v)| found.get(*k) != Some(*v)).count();
        assert!(wrong as u64 <= result.doubtful && wrong <= 1, "{wrong} {result:?}");
    }

    #[test]
    fn an_old_log_does_not_hide_what_later_tables_hold() {
        let bench = sound();
        // It became table 5 long ago; table 9 has newer values.
        bench.write("db/000002.log", log_file(&[batch(21, &[("k020", "old"), ("k021", "old")])]));
        std::fs::remove_file(bench.path().join("db/MANIFEST-000004")).unwrap();
        let (result, found) = rebuilt(&bench);
        assert_eq!((result.lost, result.doubtful), (0, 0), "{result:?}");
        assert!(found == all());
    }

    #[test]
    fn a_manifest_of_any_length_is_read_in_little_memory() {
        let bench = sound();
        let mut edits = Vec::new();
        for number in 1000..400_000_u64 {
            let mut edit = vec![6, 1];
            put_varint(&mut edit, number);
            edits.push(edit);
        }
        let manifest = bench.path().join("db/MANIFEST-000004");
        let mut bytes = std::fs::read(&manifest).unwrap();
        let sound_length = bytes.len();
        let mut writer = LogWriter::default();
        let mut rest = Vec::new();
        writer.append(&mut rest, &vec![0; sound_length - log::HEADER]).unwrap();
        for edit in &edits {
            writer.append(&mut rest, edit).unwrap();
        }
        bytes.extend(&rest[sound_length..]);
        std::fs::write(&manifest, bytes).unwrap();
        let dir = Dir::open(&bench.path().join("db")).unwrap();
        let root = RelPath::root();
        let subject = Subject { dir: &dir, path: &root };
        let folder = Folder::list(subject).unwrap();
        let (file, source) = open_listed(subject, folder.manifests.get(&4)).unwrap().unwrap();
        let read = load_manifest(subject, &folder, file, &source).unwrap();
        assert_eq!(read.findings, []);
        assert_eq!(read.version.tables.len(), 3);
        assert!(read.version.removed.len() <= Edits::FORGET + 3, "{}", read.version.removed.len());
        assert_eq!(read.vouched.len(), 1);
    }

    /// Lengths of stored keys in the sample, and of what belongs to them.
    const LEAST: usize = 30;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// A stretch of bytes costs no more records than it can cover.
        #[test]
        fn a_stretch_costs_no_more_than_what_it_covers(
            at in any::<prop::sample::Index>(),
            len in 1_usize..3000,
            fill in prop::sample::select(vec![0_u8, 0xaa, 0xff, b'e']),
            per_write in 1_usize..80,
            in_table in any::<bool>(),
        ) {
            let bench = sound();
            let value = |i: usize| format!("{i:04}").repeat(5 + i % 9);
            let all: Vec<(String, String)> = (0..200).map(|i| (format!("setting.{i:04}"), value(i))).collect();
            let mut writes = Vec::new();
            for (n, part) in all.chunks(per_write).enumerate() {
                let puts: Vec<(&str, &str)> = part.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                writes.push(batch(901 + (n * per_write) as u64, &puts));
            }
            bench.write("db/000010.log", log_file(&writes));
            let expected = records(&bench.path().join("db"));
            let path = bench.path().join(if in_table { "db/000007.ldb" } else { "db/000010.log" });
            let mut bytes = std::fs::read(&path).unwrap();
            let from = at.index(bytes.len());
            let to = bytes.len().min(from + len);
            bytes[from..to].fill(fill);
            std::fs::write(&path, bytes).unwrap();
            let (result, found) = rebuilt(&bench);
            let bad = expected.iter().filter(|(k, v)| found.get(*k) != Some(*v)).count();
            // A record at each end, and what a header or the restarts stand for.
            let most = (to - from).div_ceil(LEAST) + 3;
            prop_assert!(bad <= most, "{bad} of {most}: {result:?}");
            // What was cut at the end of a log is no loss, or one of unknown size.
            let lost = result.details["lost"].as_array().unwrap();
            let tail = !in_table && (lost.is_empty() || lost.iter().any(|l| l["at_least"] == true));
            prop_assert!(tail || bad as u64 <= result.lost + result.doubtful, "{bad}: {result:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_is_damaged_the_result_is_sound_and_what_is_wrong_is_doubtful(
            hits in prop::collection::vec((0usize..6, any::<prop::sample::Index>(), 1u8..), 1..5),
        ) {
            let bench = sound();
            let names = ["CURRENT", "MANIFEST-000004", "000005.ldb", "000007.ldb", "000009.ldb", "000010.log"];
            for (file, at, xor) in hits {
                let path = bench.path().join("db").join(names[file]);
                let mut bytes = std::fs::read(&path).unwrap();
                let at = at.index(bytes.len());
                bytes[at] ^= xor;
                std::fs::write(path, bytes).unwrap();
            }
            let (result, found) = rebuilt(&bench);
            let known = all();
            let mut wrong = 0;
            for (key, value) in &found {
                let old = key.strip_prefix('k').and_then(|n| n.parse::<usize>().ok()).map(|i| vec![i as u8; 90 + i % 7]);
                wrong += u64::from(known.get(key) != Some(value) && old.as_ref() != Some(value));
            }
            let listed = |list: &str| -> u64 {
                result.details[list].as_array().unwrap().iter().map(|r| r["records"].as_u64().unwrap()).sum()
            };
            prop_assert_eq!((listed("doubtful"), listed("lost")), (result.doubtful, result.lost));
            prop_assert!(wrong <= result.doubtful, "{wrong} wrong, {:?}", result);
            let missing = known.keys().filter(|k| !found.contains_key(*k)).count() as u64;
            prop_assert!(missing <= result.lost + result.doubtful, "{missing} missing, {:?}", result);
        }
    }
}
