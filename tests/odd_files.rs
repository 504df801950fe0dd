//! Names, kinds and sizes that are hard to carry, and files that change while
//! they are read: through scan, plan, journal, reports and undo.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::atomic::{AtomicBool, Ordering};

use shopmend::exit::Exit;

use crate::support::shop::Shop;
use crate::support::skip::skipped;
use crate::support::tree::Snapshot;

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
