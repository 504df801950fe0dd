//! Names, kinds and sizes that are hard to carry, and files that change while
//! they are read: through scan, plan, journal, reports and undo.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use shopmend::exit::Exit;

use crate::support::run::Run;
use crate::support::shop::Shop;
use crate::support::skip::skipped;
use crate::support::tree::{Snapshot, Tree};

/// A cache full of them, all old.
fn odd() -> Shop {
    let shop = Shop::new();
    let cache = |name: &str| format!(".cache/shop/cache/{name}");
    let home = &shop.home;
    for name in
        [&b"not utf-8 \xff\xfe"[..], b"line\nbreak", b"\x1b[31mred\x1b[0m", b"quote'\"`$(x)", b"-rf", b"=1+1"]
    {
        home.file_named(cache("names"), name, name);
    }
    for name in ["CON", "nul.txt", "trailing. ", "a:b", "\u{202e}gpj.exe", "Upper", "upper", "UPPER"] {
        home.file(cache(&format!("names/{name}")), name);
    }
    home.file_named(cache("names"), &[b'x'; 255], "the longest name");
    home.file_named(cache("\u{fffd}"), b"\xed\xa0\x80", "half a pair");
    let deep = "deeper/".repeat(100);
    home.file(cache(&format!("{deep}at the end")), "deep");
    home.dir(cache("kinds"))
        .fifo(cache("kinds/fifo"))
        .link(cache("kinds/dangling"), "nowhere")
        .link(cache("kinds/up"), "../..");
    let socket = std::os::unix::net::UnixListener::bind(home.at(cache("kinds/socket"))).unwrap();
    drop(socket);
    home.file(cache("kinds/one"), "two names").hard_link(cache("kinds/one"), cache("kinds/two"));
    home.hard_link(cache("kinds/one"), ".cache/shop/outside-name");
    home.mode(cache("kinds/one"), 0o4711);
    let sparse = std::fs::File::create(home.at(cache("sparse"))).unwrap();
    sparse.write_all_at(b"begin", 0).unwrap();
    sparse.write_all_at(b"end", 60_000_000).unwrap();
    shop
}

/// What a snapshot of the tree would take too long for.
fn sparse(shop: &Shop) -> (u64, u64) {
    let meta = shop.at("cache/sparse").metadata().unwrap();
    (meta.len(), meta.blocks())
}

#[test]
fn hard_names_and_kinds_come_back_by_rename_and_by_copy() {
    let other = std::path::Path::new("/dev/shm");
    let device = |path: &std::path::Path| path.metadata().map(|m| m.dev()).ok();
    for apart in [false, true] {
        let mut shop = odd();
        if !crate::support::device::root::null_device(&shop.at("cache/kinds/null")) {
            skipped("a device in a cache", "only root can make one");
        }
        let state =
            crate::support::tree::Tree::under(if apart { other } else { shop.home.path().parent().unwrap() });
        if apart && device(other) == device(shop.home.path()) {
            return skipped("odd files by copy", "/dev/shm is on the same file system");
        }
        shop.run = shop.run.state(state.at("s"));
        let shop = shop.aged();
        let was = sparse(&shop);
        assert!(was.1 * 512 < 1_000_000, "the file system knows no holes");
        let before = shop.home.snapshot();
        let scan = shop.run.call(shop.args(&["scan"])).expect(Exit::Findings);
        for text in [&scan.stdout, &scan.stderr] {
            assert!(!text.contains('\x1b') && !text.contains('\u{202e}'), "{scan}");
        }
        let html = shop.run.call(shop.args(&["scan", "-v", "--format", "html"])).expect(Exit::Findings);
        assert!(!html.stdout.contains('\u{202e}') && !html.stdout.contains('\x1b'));
        before.assert_same(&shop.home.snapshot());
        let done = shop.run.call(shop.args(&["repair", "--yes", "--format", "json"]));
        let done = done.expect_one_of(&[Exit::Ok, Exit::Left]);
        let after = shop.home.snapshot();
        // What is no plain file stays, and so does what has a name elsewhere.
        for kept in ["kinds/fifo", "kinds/dangling", "kinds/up", "kinds/socket"] {
            assert!(after.get(format!(".cache/shop/cache/{kept}")).is_some(), "{kept} is gone: {done}");
        }
        let gone = OsStr::from_bytes(b"not utf-8 \xff\xfe");
        assert!(after.get(std::path::Path::new(".cache/shop/cache/names").join(gone)).is_none(), "{done}");
        assert!(!shop.at("cache/sparse").exists(), "{done}");
        let text = &done.stdout;
        assert!(text.contains("not utf-8 %FF%FE"), "bytes of names are told as %XX: {text:.3000}");
        shop.run.call(["vault", "verify"]).expect(Exit::Ok);
        shop.run.call(["undo"]).expect(Exit::Ok);
        before.assert_same(&shop.home.snapshot());
        let now = sparse(&shop);
        assert!(now.0 == was.0 && now.1 <= was.1 + 64, "the holes are filled: {was:?} {now:?}");
    }
}

/// Files grow, shrink, vanish and are replaced while they are copied: each copy
/// is a state that the file had, or the file is skipped and said.
#[test]
fn what_changes_while_it_is_copied_is_whole_or_left_out() {
    let shop = Shop::new();
    for i in 0..8 {
        shop.home.file(format!(".cache/shop/cache/moving/{i}"), vec![b'a'; 300_000]);
    }
    let moving = shop.at("cache/moving");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let path = moving.join((n % 8).to_string());
                match n / 8 % 4 {
                    0 => drop(
                        std::fs::OpenOptions::new()
                            .append(true)
                            .open(&path)
                            .map(|f| f.write_at(&vec![b'b'; 50_000], f.metadata().map_or(0, |m| m.len()))),
                    ),
                    1 => drop(std::fs::OpenOptions::new().write(true).open(&path).map(|f| f.set_len(100))),
                    2 => drop(std::fs::remove_file(&path)),
                    _ => drop(std::fs::write(&path, vec![b'c'; 200_000])),
                }
                n += 1;
            }
        });
        for _ in 0..6 {
            let out = shop.run.call(shop.args(&["backup", "--caches"]));
            assert!([Some(0), Some(3), Some(11)].contains(&out.code), "{out}");
        }
        stop.store(true, Ordering::Relaxed);
    });
    shop.run.call(["vault", "verify"]).expect(Exit::Ok);
    // Every copy of a moving file is of one kind of bytes after another, never cut off in the middle of a write.
    let held = Snapshot::of(&shop.run.state_path().join("vault/objects"));
    for content in held.contents() {
        let whole = content.len() % 50_000 == 0 || content.len() == 100;
        assert!(
            whole || content.first().is_none_or(|b| !b"abc".contains(b)) || content.len() < 1100,
            "{}",
            content.len()
        );
    }
}

/// A database of messages as bytes, of some pages.
fn database(page: u32) -> Vec<u8> {
    let tree = Tree::new();
    let path = tree.at("a.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "page_size", page).unwrap();
    db.execute_batch(
        "CREATE TABLE msg(id INTEGER PRIMARY KEY, body TEXT); CREATE INDEX i ON msg(body); BEGIN",
    )
    .unwrap();
    for i in 0..600 {
        db.execute("INSERT INTO msg(body) VALUES(?1)", [format!("message number {i} of the test")]).unwrap();
    }
    db.execute_batch("COMMIT").unwrap();
    db.close().unwrap();
    std::fs::read(path).unwrap()
}

/// Bytes without a pattern.
fn random(len: usize) -> Vec<u8> {
    use rand::{RngExt as _, SeedableRng as _};
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(11);
    (0..len).map(|_| rng.random_range(0..=255)).collect()
}

/// What `check` says of one path, with text and JSON agreeing in the exit code.
fn checked(run: &Run, path: &Path) -> serde_json::Value {
    let out = run.call(["check".as_ref(), "--format".as_ref(), "json".as_ref(), path.as_os_str()]);
    let text = run.call(["check".as_ref(), path.as_os_str()]);
    assert_eq!(out.code, text.code, "{out}\n{text}");
    let document = out.json();
    assert_eq!(document["summary"]["exit"], out.code.unwrap(), "{out}");
    assert_eq!(document["not_checked"], document["summary"]["not_checked"], "{out}");
    let verdicts: Vec<&str> =
        document["stores"].as_array().unwrap().iter().map(|s| s["verdict"].as_str().unwrap()).collect();
    for verdict in &verdicts {
        assert!(text.stdout.contains(verdict), "{text}");
    }
    let expected = if verdicts.iter().any(|v| ["damaged", "stale"].contains(v)) {
        1
    } else if document["not_checked"].as_array().unwrap().is_empty() {
        0
    } else {
        2
    };
    assert_eq!(out.code, Some(expected), "{out}");
    document
}

#[test]
fn a_database_whose_first_bytes_are_lost_is_damaged_and_salvage_is_named() {
    let tree = Tree::new();
    let sound = database(4096);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = sound.clone();
        change(&mut bytes);
        bytes
    };
    let before = |front: &[u8]| [front, &sound].concat();
    let mut tls = vec![0x15, 3, 1, 0, 0x20];
    tls.extend(random(32));
    let cases = [
        ("tls record over the header", with(&|b| b[..37].copy_from_slice(&tls))),
        ("one bit of the magic", with(&|b| b[3] ^= 4)),
        ("header zeroed", with(&|b| b[..100].fill(0))),
        ("first page zeroed", with(&|b| b[..4096].fill(0))),
        ("first page random", with(&|b| b[..4096].copy_from_slice(&random(4096)))),
        ("random, and cut", random(20_001)),
        ("first page gone", sound[4096..].to_vec()),
        ("byte order mark before it", before(b"\xef\xbb\xbf")),
        ("answer of a server before it", before(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")),
        ("zeroed", vec![0; sound.len()]),
        ("filled", vec![0xff; 8192]),
        ("emptied", Vec::new()),
        ("cut in its header", sound[..60].to_vec()),
    ];
    let run = Run::new();
    for (name, bytes) in cases {
        // As a name of its own, and as what a program made of it.
        for file in ["app.db", "app.db.corrupt", "app (1).sqlite"] {
            let path = tree.file(format!("{name}/{file}"), &bytes).at(format!("{name}/{file}"));
            let store = checked(&run, &path)["stores"][0].clone();
            assert_eq!(
                (&store["verdict"], &store["kind"]),
                (&"damaged".into(), &"sqlite".into()),
                "{name}: {store}"
            );
            assert!(store["next"].as_str().unwrap().contains("shopmend salvage"), "{name}: {store}");
        }
    }
}

#[test]
fn the_structure_alone_is_enough_where_the_name_says_nothing() {
    let tree = Tree::new();
    let mut bytes = database(1024);
    bytes[..1024].fill(0x55);
    let path = tree.file("state", bytes).at("state");
    let store = checked(&Run::new(), &path)["stores"][0].clone();
    assert_eq!((&store["verdict"], &store["kind"]), (&"damaged".into(), &"sqlite".into()), "{store}");
    // And a name alone is not: many programs call their files so.
    let path = tree.file("notes.db", "just text\n").at("notes.db");
    let store = checked(&Run::new(), &path)["stores"][0].clone();
    assert_eq!((&store["verdict"], &store["format"]), (&"unknown".into(), &"text".into()), "{store}");
}

#[test]
fn a_log_without_its_database_is_damage_and_with_it_a_part_of_it() {
    let tree = Tree::new();
    let db = rusqlite::Connection::open(tree.at("a.db")).unwrap();
    db.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES(1)").unwrap();
    std::fs::copy(tree.at("a.db-wal"), tree.dir("alone").at("alone/b.db-wal")).unwrap();
    let run = Run::new();
    let alone = checked(&run, &tree.at("alone"));
    assert_eq!(alone["stores"][0]["findings"][0]["code"], "sqlite.log-alone", "{alone}");
    let named = checked(&run, &tree.at("a.db-wal"));
    assert_eq!(named["stores"][0]["verdict"], "healthy", "{named}");
    assert!(named["stores"][0]["path"].as_str().unwrap().ends_with("a.db"), "{named}");
    drop(db);
}

#[test]
fn other_engines_and_archives_are_named_and_neither_sound_nor_damaged() {
    let tree = Tree::new();
    let padded = |parts: &[(usize, &[u8])]| {
        let mut out = vec![0; 8192];
        for (at, part) in parts {
            out[*at..at + part.len()].copy_from_slice(part);
        }
        out
    };
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &database(4096)).unwrap();
    // A readable header in front of encrypted pages.
    let mut plain_header = random(16_384);
    plain_header[..24].copy_from_slice(&database(4096)[..24]);
    let files = [
        ("lmdb", "data.mdb", padded(&[(16, &[0xde, 0xc0, 0xef, 0xbe, 1])])),
        ("duckdb", "app.db", padded(&[(8, b"DUCK"), (12, &[64])])),
        ("realm", "default.realm", padded(&[(1, &[16]), (16, b"T-DB")])),
        ("h2", "app.mv.db", padded(&[(0, b"H:2,block:2,blockSize:1000,chunk:1,format:3,fletcher:0\n")])),
        ("access", "x.mdb", padded(&[(1, &[1]), (4, b"Standard Jet DB\0")])),
        ("encrypted", "messages.db", random(16_384)),
        ("sqlcipher", "ios.db", plain_header),
        ("jsonc", "settings.json", b"// mine\n{\"a\": [1, 2,], /* b */ \"c\": 3}\n".to_vec()),
        ("json-lines", "log.json", b"{\"a\":1}\n{\"a\":2}\n".to_vec()),
        ("datastore", "user.preferences_pb", b"\x0a\x08\x0a\x01n\x12\x03\x18\xac\x02".to_vec()),
        ("gzip", "app.db.gz", gzip.finish().unwrap()),
        ("android-backup", "backup.ab", b"ANDROID BACKUP\n5\n1\nnone\nx".to_vec()),
        ("sql-dump", "dump.db", b"BEGIN TRANSACTION;\nCREATE TABLE t(a);\nCOMMIT;\n".to_vec()),
    ];
    let run = Run::new();
    for (format, name, bytes) in files {
        let path = tree.file(format!("{format}/{name}"), bytes).at(format!("{format}/{name}"));
        // Named, and met in a folder.
        for path in [path.clone(), path.parent().unwrap().to_owned()] {
            let seen = checked(&run, &path);
            let store = &seen["stores"][0];
            assert_eq!((&store["verdict"], &store["format"]), (&"unknown".into(), &format.into()), "{seen}");
            assert!(seen["not_checked"][0]["how_to_see"].is_string(), "{seen}");
        }
    }
    // Much like LevelDB from outside, with tables and without.
    for table in [None, Some(&b"block\xf7\xcf\xf4\x85\xb7\x41\xe2\x88"[..])] {
        let tree = Tree::new();
        tree.file("r/CURRENT", "MANIFEST-000005\n")
            .file("r/MANIFEST-000005", "x")
            .file("r/OPTIONS-000007", "[Version]");
        if let Some(table) = table {
            tree.file("r/000009.sst", table);
        }
        let seen = checked(&run, &tree.at("r"));
        assert_eq!(seen["stores"][0]["format"], "rocksdb", "{seen}");
    }
}

#[test]
fn what_was_named_is_judged_or_said_not_to_be_and_what_was_met_is_counted() {
    let tree = Tree::new();
    tree.file("mixed/a.db", database(4096))
        .file("mixed/readme.txt", "tea")
        .file("mixed/photo.raw", random(3000));
    tree.file("texts/readme.txt", "tea")
        .link("to-a.db", "mixed/a.db")
        .link("mixed/outside", "../texts")
        .fifo("fifo");
    let run = Run::new();
    let mixed = checked(&run, &tree.at("mixed"));
    assert_eq!(
        (&mixed["stores"][0]["verdict"], &mixed["other_files"]),
        (&"healthy".into(), &2.into()),
        "{mixed}"
    );
    // Not followed, and not passed over in silence.
    assert!(mixed["not_checked"][0]["what"].as_str().unwrap().ends_with("outside"), "{mixed}");
    for path in ["mixed/readme.txt", "texts", "to-a.db", "fifo"] {
        let seen = checked(&run, &tree.at(path));
        assert_eq!(seen["summary"]["exit"], 2, "{path}: {seen}");
        assert!(seen["not_checked"][0]["why"].is_string(), "{path}: {seen}");
    }
    std::fs::remove_file(tree.at("mixed/outside")).unwrap();
    assert_eq!(checked(&run, &tree.at("mixed"))["summary"]["exit"], 0);
}

#[test]
fn a_folder_or_file_that_cannot_be_read_is_not_checked() {
    if shopmend::fsys::effective_user() == Some(0) && !crate::support::skip::has("setpriv") {
        return skipped("unreadable parts of a folder", "root reads all, and there is no setpriv");
    }
    let tree = Tree::new();
    tree.file("all/a.db", database(4096)).file("all/secret/b.db", database(4096)).file("all/c.db", "x");
    tree.mode("all/secret", 0o000).mode("all/c.db", 0o000);
    let run = Run::new();
    let call = |path: &str| {
        let mut command =
            run.command(["check".as_ref(), "--format".as_ref(), "json".as_ref(), tree.at(path).as_os_str()]);
        if shopmend::fsys::effective_user() == Some(0) {
            // Without the right to pass over permissions.
            let mut less = std::process::Command::new("setpriv");
            less.args(["--bounding-set=-all", "--inh-caps=-all", "--reuid=0", "--regid=0", "--clear-groups"]);
            less.arg("setpriv")
                .arg("--ambient-caps=-all")
                .arg(command.get_program())
                .args(command.get_args());
            run.at_home(&mut less);
            less.env("PATH", std::env::var_os("PATH").unwrap_or_default());
            less.stdout(std::process::Stdio::piped());
            command = less;
        }
        let out = command.output().unwrap();
        let document: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        (out.status.code(), document)
    };
    let (code, all) = call("all");
    assert_eq!(code, Some(2), "{all}");
    let left: Vec<&str> =
        all["not_checked"].as_array().unwrap().iter().map(|n| n["what"].as_str().unwrap()).collect();
    assert!(left.iter().any(|w| w.ends_with("secret")) && left.iter().any(|w| w.ends_with("c.db")), "{all}");
    assert_eq!(all["stores"][0]["verdict"], "healthy", "{all}");
    let (code, named) = call("all/c.db");
    assert_eq!((code, &named["stores"][0]["verdict"]), (Some(2), &"unreadable".into()), "{named}");
    tree.mode("all/secret", 0o755);
}

#[test]
fn a_backup_of_preferences_is_judged_with_its_pair_whichever_is_named() {
    let tree = Tree::new();
    let sound = "<?xml version='1.0' encoding='utf-8' standalone='yes' ?>\n<map>\n    <int name=\"n\" value=\"5\" />\n</map>\n";
    tree.file("p.xml", &sound[..80])
        .file("p.xml.bak", sound)
        .file("old.xml", format!("{sound}</map>\n\0\0\0"));
    let run = Run::new();
    for name in ["p.xml", "p.xml.bak"] {
        let seen = checked(&run, &tree.at(name));
        assert_eq!(seen["stores"].as_array().unwrap().len(), 1, "{seen}");
        assert_eq!(seen["stores"][0]["findings"][0]["code"], "prefs.interrupted-write", "{name}: {seen}");
    }
    // Android's reader stops at the end of the map.
    assert_eq!(checked(&run, &tree.at("old.xml"))["summary"]["exit"], 0);
}

#[test]
fn where_a_profile_names_a_database_anything_else_is_said() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &vec![b'x'; 100_000]).unwrap();
    let mut lmdb = vec![0; 8192];
    lmdb[16..21].copy_from_slice(&[0xde, 0xc0, 0xef, 0xbe, 1]);
    let html = b"<!DOCTYPE html><html><body>Forbidden</body></html>".to_vec();
    let cases = [
        ("emptied", Vec::new(), "empty"),
        ("zeroed", vec![0; 8192], "zero"),
        ("random", random(65_536), "random bytes"),
        ("gzip", gzip.finish().unwrap(), "a gzip archive"),
        ("html", html, "an HTML page"),
        ("lmdb", lmdb, "an LMDB database"),
    ];
    for (name, bytes, said) in cases {
        let shop = Shop::new();
        std::fs::write(shop.at("messages.db"), bytes).unwrap();
        let scan = shop.run.call(shop.args(&["scan", "--format", "json"]));
        assert_ne!(scan.code, Some(0), "{name}: {scan}");
        let document = scan.json();
        let stores = document["targets"][0]["stores"].as_array().unwrap();
        let store = stores.iter().find(|s| s["path"].as_str().unwrap().ends_with("messages.db")).unwrap();
        assert_ne!(store["verdict"], "healthy", "{name}: {store}");
        let message = store["findings"][0]["message"].as_str().unwrap();
        assert!(message.contains(said), "{name}: {message}");
        let text = shop.run.call(shop.args(&["scan"]));
        assert!(text.stdout.contains(said.split(' ').next_back().unwrap()), "{name}: {text}");
    }
}

#[test]
fn an_apps_own_files_of_no_known_format_are_unknown_and_the_others_checked_by_content() {
    let shop = Shop::new();
    let drafts = |shop: &Shop| {
        let scan = shop.run.call(shop.args(&["scan", "-v", "--format", "json"])).json();
        let stores = scan["targets"][0]["stores"].as_array().unwrap().clone();
        stores.into_iter().find(|s| s["path"].as_str().unwrap().contains("drafts")).unwrap()
    };
    assert_eq!(drafts(&shop)["verdict"], "healthy");
    shop.home.file(".cache/shop/drafts/two.bin", [7, 1, 200, 3, 9]);
    let one = drafts(&shop);
    assert_eq!(one["verdict"], "unknown", "{one}");
    assert!(one["findings"][0]["message"].as_str().unwrap().contains("two.bin"), "{one}");
    shop.home.file(".cache/shop/drafts/one.json", "{\"cut\": ");
    let two = drafts(&shop);
    assert_eq!(
        (&two["verdict"], &two["findings"][0]["code"]),
        (&"damaged".into(), &"json.torn".into()),
        "{two}"
    );
}

#[test]
fn archives_are_looked_into_when_that_is_asked() {
    let tree = Tree::new();
    let gzip = |bytes: &[u8]| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, bytes).unwrap();
        packed.finish().unwrap()
    };
    let mut hurt = database(4096);
    hurt[8192..12_288].fill(b'x');
    tree.file("sound.db.gz", gzip(&database(4096)))
        .file("hurt.db.gz", gzip(&hurt))
        .file("text.txt.gz", gzip(b"tea"));
    let before = tree.snapshot();
    let run = Run::new();
    let inside = |name: &str, exit| {
        let path = tree.at(name);
        let args =
            ["check".as_ref(), "--inside".as_ref(), "--format".as_ref(), "json".as_ref(), path.as_os_str()];
        run.call(args).expect(exit).json()
    };
    let sound = inside("sound.db.gz", Exit::Ok);
    assert_eq!(sound["stores"][0]["verdict"], "healthy", "{sound}");
    assert!(sound["stores"][0]["path"].as_str().unwrap().ends_with("sound.db.gz!/sound.db"), "{sound}");
    assert_eq!(inside("hurt.db.gz", Exit::Findings)["stores"][0]["verdict"], "damaged");
    let text = inside("text.txt.gz", Exit::Incomplete);
    assert!(text["not_checked"][0]["what"].as_str().unwrap().ends_with("text.txt.gz!"), "{text}");
    // Nothing stays of what was unpacked, and no path of it is printed.
    let all = inside("", Exit::Findings).to_string();
    assert!(!all.contains("inside-"), "{all}");
    before.assert_same(&tree.snapshot());
    let left = Snapshot::of(run.state_path());
    assert!(left.contents().iter().all(|c| !c.starts_with(b"SQLite format 3")), "a copy stays");
}

#[test]
fn what_check_says_to_salvage_can_be_salvaged() {
    let tree = Tree::new();
    let pair = shopmend::sample::mmkv::files(&[("user", b"\x04Toko"), ("on", &[1])], &[("tab", b"\x03Ana")]);
    tree.file("mmkv/kv", &pair.data);
    let prefs = "<?xml version='1.0' encoding='utf-8' standalone='yes' ?>\n<map>\n    <int name=\"a\" value=\"5\" />\n    \
                 <int name=\"b\" value=\"6\" />\n    <string name=\"c\">cut he";
    tree.file("shared_prefs/p.xml", prefs);
    let db = rusqlite::Connection::open(tree.at("live.db")).unwrap();
    db.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES('only in the log')")
        .unwrap();
    std::fs::copy(tree.at("live.db-wal"), tree.dir("log").at("log/app.db-wal")).unwrap();
    let run = Run::new();
    for (name, out) in [("mmkv/kv", "kv"), ("shared_prefs/p.xml", "p.xml"), ("log/app.db-wal", "new.db")] {
        let next = checked(&run, &tree.at(name))["stores"][0]["next"].as_str().unwrap().to_owned();
        assert!(next.contains("shopmend salvage"), "{name}: {next}");
        let (damaged, out) = (tree.at(name), tree.dir("out").at(format!("out/{out}")));
        let said = run.call(["salvage".as_ref(), damaged.as_os_str(), "-o".as_ref(), out.as_os_str()]);
        let said = said.expect_one_of(&[Exit::Ok, Exit::Left]);
        let seen = checked(&run, &out);
        assert_eq!(seen["stores"][0]["verdict"], "healthy", "{name}: {said}\n{seen}");
        run.call(["salvage".as_ref(), damaged.as_os_str(), "-o".as_ref(), out.as_os_str()])
            .expect(Exit::Usage);
    }
    let new = std::fs::read_to_string(tree.at("out/p.xml")).unwrap();
    assert!(new.contains("\"a\"") && new.contains("\"b\"") && !new.contains("cut he"), "{new}");
    let row: String = rusqlite::Connection::open(tree.at("out/new.db"))
        .unwrap()
        .query_row("SELECT a FROM t", [], |r| r.get(0))
        .unwrap();
    assert_eq!(row, "only in the log");
    drop(db);
}
