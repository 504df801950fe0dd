//! What the targets start from: files that Chromium, Firefox, SQLite and this program itself wrote, in the form in which a
//! target takes them; for apps that cannot be run here, the sample device's.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::SystemTime;

use shopmend::exit::Exit;
use shopmend::profile::Profiles;
use shopmend::sample::android;
use shopmend::vault::read_records;

use super::targets::base::{BASES, Base};
use super::targets::framed::joined;
use crate::support::canned::{APP, Canned, PLANTS, SHAPES};
use crate::support::shop::{self, Shop};
use crate::support::skip::skipped;

type Seeds = Vec<Vec<u8>>;
type File = (PathBuf, Vec<u8>);

/// Every file below a folder, in the order of their names.
fn files_below(folder: &Path) -> Vec<File> {
    let all = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().map(Result::unwrap);
    let files = all.filter(|e| e.file_type().is_file());
    files.map(|e| (e.path().to_path_buf(), fs::read(e.path()).unwrap())).collect()
}

/// The sample device's files.
static SAMPLE: LazyLock<Vec<File>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    android::image(folder.path(), SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_790_000_000))
        .unwrap();
    files_below(folder.path())
});

fn ends(path: &Path, end: &str) -> bool {
    path.to_str().is_some_and(|p| p.ends_with(end))
}

fn sample(end: &str) -> &'static [u8] {
    &SAMPLE.iter().find(|(path, _)| ends(path, end)).unwrap_or_else(|| panic!("no {end} in the sample")).1
}

/// What lies at `folder` in the home that the browsers filled, `suffix` behind the home's name. `None`, and said so,
/// where there is no such home.
#[track_caller]
fn browser_folder(target: &str, suffix: &str, folder: &str) -> Option<PathBuf> {
    let mut home = std::env::var_os("SHOPMEND_BROWSER_HOME").unwrap_or_default();
    home.push(suffix);
    let found = Path::new(&home).join(folder);
    if found.is_dir() {
        return Some(found);
    }
    skipped(&format!("fuzz::{target}"), "without SHOPMEND_BROWSER_HOME it starts from made-up files alone");
    None
}

const CHROMIUM: &str = ".config/chromium/Default";
const HTTP_CACHE: &str = ".cache/chromium/Default/Cache/Cache_Data";

/// `mode` and then the rest of an input.
fn with(mode: u8, rest: &[u8]) -> Vec<u8> {
    [&[mode], rest].concat()
}

/// The first of each list of bytes that are not too long for a quick test.
fn some(files: impl IntoIterator<Item = Vec<u8>>, count: usize) -> Seeds {
    files.into_iter().filter(|f| f.len() < 65_536).take(count).collect()
}

pub(super) fn adb() -> Seeds {
    let texts: [&[u8]; 8] = [
        b"R58N     device usb:1-2 product:a51 model:SM_A515F device:a51 transport_id:3\n10.0.0.7:5555  offline transport_id:4\n",
        b"//64513 77 41ed 1 10123 20123 8 4096 2026-11-22 07:18:55.123456789 +00002026-11-22 08:18:55.5 +01001969-12-31 23:59:59.0 +0000/data/x\n\
          //64513 78 81a4 1 10123 20123 8 1234 2026-11-22 07:18:55.1 +00002026-11-22 08:18:55.5 +01002026-11-22 08:18:55.5 +0100/data/x/a b\n",
        b"\x01\x02\0\0\0ab\x02\x01\0\0\0e\x01\x01\0\0\0c\x03\x01\0\0\0\x07",
        b"DATA\x02\0\0\0abDATA\x01\0\0\0cDONE\0\0\0\0",
        b"ro.serialno=R58N\nro.product.model=SM-A515F\nro.build.version.sdk=33\nzone=+0700\nuid=2000\nsu=yes\n",
        b"a\n@w@one=0\noops@w@\nb@w@two x=13\n@w@\n",
        b"App Size: 30\nPackage Names: [\"com.a\",\"com.b\"]\nApp Sizes: [1,2]\nApp Data Sizes: [10,20]\nCache Sizes: [100,200]\n",
        b"    versionName=38.1.2\n    flags=[ HAS_CODE DEBUGGABLE ]\n    firstInstallTime=2026-01-02 03:04:05\n  PID NAME\n  12 com.x\n 13 com.x:push\n",
    ];
    (0..).zip(texts).map(|(which, text)| with(which, text)).collect()
}

pub(super) fn blockfile() -> Seeds {
    let mut out = vec![with(0, &[])];
    if let Some(cache) = browser_folder("blockfile", "-blockfile", HTTP_CACHE) {
        let read = |name: &str| fs::read(cache.join(name)).unwrap();
        // Behind the file's own number and entry size; the map of blocks is longer than what a target takes of it.
        let blocks = |name: &str| {
            let all = read(name);
            [&all[16..128], &all[8192..all.len().min(40_000)]].concat()
        };
        let (index, third) = (read("index"), read("data_2"));
        let third = &third[..third.len().min(20_000)];
        out.push(with(0, &joined(&[&index[368..1392], &blocks("data_0"), &blocks("data_1")], third)));
        out.push(with(7, &joined(&[&index[..1024], &read("data_0"), &read("data_1")], third)));
    }
    out
}

pub(super) fn cache_storage() -> Seeds {
    let mut out = vec![joined(&[], &[])];
    if let Some(folder) =
        browser_folder("cache_storage", "", &format!("{CHROMIUM}/Service Worker/CacheStorage"))
    {
        let files = files_below(&folder);
        let entry = files.iter().find(|(path, _)| ends(path, "_0")).unwrap();
        for (_, index) in files.iter().filter(|(path, _)| ends(path, "/index.txt")) {
            out.push(joined(&[index], &entry.1));
        }
    }
    out
}

pub(super) fn disk_lru() -> Seeds {
    let journals = SAMPLE.iter().filter(|(path, _)| ends(path, "okhttp3/journal"));
    // The target writes the five lines of the head itself.
    journals.map(|(_, text)| text.splitn(6, |&b| b == b'\n').nth(5).unwrap().to_vec()).collect()
}

pub(super) fn exo() -> Seeds {
    vec![sample("cached_content_index.exi").to_vec()]
}

pub(super) fn firefox_cache() -> Seeds {
    let mut out = vec![with(0, &joined(&[b"body"], b"meta"))];
    if let Some(folder) = browser_folder("firefox_cache", "", ".cache/mozilla/firefox") {
        let entries =
            files_below(&folder).into_iter().filter(|(path, _)| path.to_string_lossy().contains("/entries/"));
        let raw = entries.filter_map(|(_, bytes)| {
            // The entry's last four bytes say where its metadata begins; the target puts them there itself.
            let (all, at) = bytes.split_last_chunk::<4>()?;
            let (body, meta) = all.split_at_checked(u32::from_be_bytes(*at) as usize)?;
            (body.len() < 65_536).then(|| with(3, &joined(&[body], meta)))
        });
        out.extend(some(raw, 20));
    }
    out
}

pub(super) fn fresco() -> Seeds {
    some(SAMPLE.iter().filter(|(path, _)| ends(path, ".cnt")).map(|(_, bytes)| bytes.clone()), 5)
}

/// The journals of a run and of its undo.
fn journals() -> Seeds {
    let shop = Shop::new();
    shop.break_index();
    let shop = shop.aged();
    shop.run.call(shop.args(&["repair", "--yes"])).expect(Exit::Ok);
    // The database is damaged again.
    shop.run.call(["undo"]).expect(Exit::Left);
    let files = files_below(&shop.run.state_path().join("runs"));
    files.into_iter().filter(|(path, _)| ends(path, "/journal.closed")).map(|(_, bytes)| bytes).collect()
}

/// The records of a journal as JSON, one a line.
fn lines(journal: &[u8]) -> Vec<u8> {
    let records = read_records(journal).unwrap();
    let lines: Vec<Vec<u8>> = records.iter().map(|r| serde_json::to_vec(r).unwrap()).collect();
    lines.join(&b'\n')
}

pub(super) fn journal() -> Seeds {
    let whole = journals();
    whole.iter().map(|j| lines(j)).chain(whole.iter().cloned()).collect()
}

pub(super) fn json() -> Seeds {
    let mut out = vec![sample("local_prefs.json").to_vec(), sample("server.json").to_vec()];
    if let Some(folder) = browser_folder("json", "", CHROMIUM) {
        out.extend(some([fs::read(folder.join("Preferences")).unwrap()], 1));
    }
    out
}

pub(super) fn keva() -> Seeds {
    let part = |end: &str| sample(&format!("aweme-app.{end}"));
    vec![with(0, &joined(&[part("blk"), part("chk"), part("lxi"), part("blk")], &[]))]
}

pub(super) fn leveldb() -> Seeds {
    let mut out =
        vec![with(0, &joined(&[&[], &[0, 0, 0, 0, 1, 0, 0, 0, 0], &[0, 0, 0, 0, 1, 0, 0, 0, 0]], &[]))];
    let mut folders = vec![(false, SAMPLE.iter().filter(|(p, _)| p.ends_with("leveldb")).cloned().collect())];
    if let Some(chromium) = browser_folder("leveldb", "", CHROMIUM) {
        folders.push((false, files_below(&chromium.join("Local Storage/leveldb"))));
        folders.push((false, files_below(&chromium.join("Service Worker/Database"))));
        let site = "IndexedDB/https_seller-us.tiktok.com_0.indexeddb.leveldb";
        folders.push((true, files_below(&chromium.join(site))));
    }
    for (indexed_db, files) in folders {
        let of = |end: &str| {
            files.iter().find(|(path, bytes)| ends(path, end) && !bytes.is_empty()).map_or(&[][..], |f| &f.1)
        };
        let mode = if indexed_db { 15 } else { 7 };
        // Its first records; all of them take long.
        let log = of(".log");
        let log = &log[..log.len().min(6000)];
        for mode in [mode, mode | 32] {
            out.push(with(mode, &joined(&[of("/MANIFEST-000001"), of(".ldb"), &[]], log)));
        }
    }
    out
}

pub(super) fn manifest() -> Seeds {
    journals().iter().map(|j| lines(j)).collect()
}

pub(super) fn media() -> Seeds {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["tests/data/media", "src/sample/media"];
    some(folders.iter().flat_map(|f| files_below(&root.join(f))).map(|(_, bytes)| bytes), 20)
}

pub(super) fn media_loader() -> Seeds {
    vec![joined(&[sample(".mdlnodeconf")], sample(".mdl"))]
}

pub(super) fn identify() -> Seeds {
    let names = ["aweme.db", "mmkv.default", "live_settings", ".xml", ".json", ".log", ".png", ".zip"];
    let known = names.iter().filter_map(|end| SAMPLE.iter().find(|(path, _)| ends(path, end)));
    let mut out: Seeds =
        known.flat_map(|(_, bytes)| (0..3).map(|n| [&[n * 4], bytes.as_slice()].concat())).collect();
    let backup = b"ANDROID BACKUP\n5\n0\nnone\n";
    let mut tar = vec![0; 2048];
    tar[..4].copy_from_slice(b"a/b\0");
    tar[124..135].copy_from_slice(b"00000000003");
    tar[156] = b'0';
    tar[257..263].copy_from_slice(b"ustar\0");
    out.push([&[8], backup.as_slice(), &tar].concat());
    out.push([&[7], b"mozLz40\0\x0b\0\0\0\xb0".as_slice(), br#"{"a":[1,2]}"#].concat());
    out
}

pub(super) fn mmkv() -> Seeds {
    let pairs = ["mmkv.default", "live_settings"];
    pairs.iter().map(|name| [&sample(&format!("{name}.crc"))[..112], sample(name)].concat()).collect()
}

pub(super) fn app_list() -> Seeds {
    let all: [&[u8]; 4] = [
        br#"{"profile":{"info_cache":{"Default":{"name":"x"},"Work":{}},"last_used":"Work"},"a":["b"]}"#,
        b"[General]\nVersion=2\n\n[Profile1]\nIsRelative=0\nPath=/home/ann/ff\nDefault=1\n",
        b"[4F96D1932A9F858E]\r\nDefault=Profiles/abc.default\r\nLocked=1\r\n",
        b"\xef\xbb\xbf{}",
    ];
    all.map(<[u8]>::to_vec).to_vec()
}

pub(super) fn plist() -> Seeds {
    files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/plist"))
        .into_iter()
        .map(|f| f.1)
        .collect()
}

pub(super) fn profile() -> Seeds {
    let built_in = files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles"));
    let own = shop::profile();
    assert!(Profiles::from_text_alone("own.toml", &own).is_ok(), "{own}");
    built_in.into_iter().map(|f| f.1).chain([own.into_bytes()]).collect()
}

pub(super) fn salvage() -> Seeds {
    let scripts: [&[u8]; 3] = [b"", b"\x10\x01\x35abcde", b"\x02\x02\x10\x40\x02\x00"];
    let made = (0..3).flat_map(|mode| scripts.map(|s| [&[mode, 128], s].concat()));
    let raw = BASES.iter().map(|base| [&[3, 255], base.db.as_slice()].concat());
    made.chain(raw).collect()
}

pub(super) fn shared_prefs() -> Seeds {
    let all = SAMPLE.iter().filter(|(path, _)| path.to_string_lossy().contains("/shared_prefs/"));
    all.map(|(_, bytes)| bytes.clone()).collect()
}

pub(super) fn simple_cache() -> Seeds {
    let mut out = vec![with(0, &joined(&[b"head", b"body", b""], &[]))];
    if let Some(cache) = browser_folder("simple_cache", "", HTTP_CACHE) {
        let index = fs::read(cache.join("index-dir/the-real-index")).unwrap_or_default();
        let entries = files_below(&cache).into_iter().filter(|(path, _)| ends(path, "_0"));
        // An entry and the index as they are.
        out.extend(some(entries.map(|(_, entry)| with(11, &joined(&[&[], &entry, &[]], &index))), 20));
    }
    out
}

pub(super) fn sql_cache() -> Seeds {
    let mut out = vec![joined(&[&[0; 24]], &[0, 2, 7, 90, 4, 0])];
    if let Some(cache) = browser_folder("sql_cache", "-sql", HTTP_CACHE) {
        let index = fs::read(cache.join("index")).unwrap();
        out.push(joined(&[index.strip_prefix(b"SQLCache").unwrap()], &[]));
    }
    out
}

pub(super) fn sqlite_check() -> Seeds {
    let whole = BASES.iter().map(|Base { db, wal, journal }| {
        let mut db = db.clone();
        // The target makes the page size from this byte.
        db[16] = match db[16] {
            2 => 4,
            4 => 1,
            8 => 2,
            _ => 3,
        };
        let (wal, journal) = (&wal[..wal.len().min(30_000)], &journal[..journal.len().min(30_000)]);
        let cuts = [wal.len() as u16, (wal.len() + journal.len()) as u16].map(u16::to_le_bytes).concat();
        [&cuts, wal, journal, &db].concat()
    });
    whole.collect()
}

pub(super) fn sqlite_logs() -> Seeds {
    let logs = BASES.iter().flat_map(|base| [&base.wal, &base.journal]).filter(|log| !log.is_empty());
    let raw = logs.map(|log| with(0, log));
    let changed = [1, 3].map(|mode| with(mode, b"\x05\x00\x31\x07\x20\x02\x10"));
    raw.chain(changed).collect()
}

pub(super) fn sqlite_page() -> Seeds {
    // Pages of 512 and of 1024 bytes, the first with the header of the file before it.
    let of = |base: usize, how: u8, size: usize| {
        let pages = BASES[base].db.chunks_exact(size).enumerate().take(40);
        pages.map(move |(n, page)| [&[if n == 0 { how | 16 } else { how }, 0], page].concat())
    };
    of(0, 0, 512).chain(of(1, 1, 1024)).collect()
}

pub(super) fn sqlite_schema() -> Seeds {
    let mut out = Vec::new();
    for (path, bytes) in SAMPLE.iter().filter(|(_, bytes)| bytes.starts_with(b"SQLite format 3\0")) {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("copy.db");
        fs::write(&copy, bytes).unwrap();
        let db = rusqlite::Connection::open(&copy).unwrap();
        let mut all = db.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").unwrap();
        let all = all.query_map([], |row| row.get::<_, String>(0)).unwrap();
        out.extend(all.map(|sql| sql.unwrap_or_else(|e| panic!("{}: {e}", path.display()))));
    }
    out.sort();
    out.dedup();
    // Of which each eighth is mended where it is hurt, which takes long.
    (0..).zip(out).map(|(how, sql)| with(how, sql.as_bytes())).collect()
}

pub(super) fn state_db() -> Seeds {
    let shop = Shop::new();
    shop.run.call(shop.args(&["scan"])).expect(Exit::Ok);
    let path = shop.run.state_path().join("state.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode=DELETE").unwrap();
    drop(db);
    vec![with(0, &fs::read(path).unwrap()), with(1, b"\x05\x10\x01\x00"), with(3, b"\x40\x00\x80\x00")]
}

pub(super) fn triage() -> Seeds {
    let mut out = Vec::new();
    for (n, plant) in PLANTS.iter().enumerate() {
        let mut phone = Canned::healthy(SHAPES[n % SHAPES.len()], 1_790_000_000);
        (plant.put)(&mut phone);
        let answer = |p: &shopmend::triage::phone::Probe| {
            phone.all.get(&p.named(APP)).map_or(&b""[..], |t| t.as_bytes())
        };
        let all: Vec<&[u8]> = shopmend::triage::phone::probes().iter().map(answer).collect();
        out.push(with(0, &joined(&all, &[])));
    }
    let files: [&[u8]; 3] = [
        b"127.0.0.1 localhost\n0.0.0.0 www.tiktok.com p16.tiktokcdn.com # x\n",
        b"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t00000000\t01\t0003\t0\t0\t0\t00000000\n",
        br#"{"URLBlocklist":["*://*.tiktok.com/*"],"policies":{"Cookies":{"Behavior":"reject"}}}"#,
    ];
    out.extend(files.map(|text| with(2, text)));
    out
}
