//! Every fuzz target, for a moment: on what real programs wrote, and on that with some bytes changed. The same inputs in
//! every run on the same seeds; `scripts/fuzz` goes on from there with libFuzzer.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

mod seeds;
#[path = "fuzz/src/lib.rs"]
mod targets;

/// One test for each target, which takes so many changed inputs besides its seeds.
macro_rules! targets {
    ($($name:ident: $inputs:literal),* $(,)?) => {
        const TARGETS: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                take(stringify!($name), targets::$name::run, &seeds::$name(), $inputs);
            }
        )*
    };
}

// Fewer where one input takes long.
targets! {
    adb: 4000,
    app_list: 1000,
    blockfile: 300,
    cache_storage: 300,
    disk_lru: 300,
    exo: 300,
    firefox_cache: 300,
    fresco: 300,
    identify: 300,
    journal: 1000,
    json: 300,
    keva: 300,
    leveldb: 200,
    manifest: 100,
    media: 300,
    media_loader: 300,
    mmkv: 300,
    plist: 300,
    profile: 200,
    salvage: 100,
    shared_prefs: 300,
    simple_cache: 300,
    sql_cache: 100,
    sqlite_check: 300,
    sqlite_logs: 200,
    sqlite_page: 1000,
    sqlite_schema: 300,
    state_db: 100,
    triage: 400,
}

fn take(target: &str, run: fn(&[u8]), seeds: &[Vec<u8>], changed: usize) {
    assert!(!seeds.is_empty());
    let mut rng = ChaCha8Rng::seed_from_u64(u64::from(crc32fast::hash(target.as_bytes())));
    let changed = (0..changed).map(|_| change(&mut rng, seeds));
    let mut count = 0;
    for input in seeds.iter().cloned().chain(changed) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&input))) {
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{target}-{count}"));
            fs::write(&kept, &input).unwrap();
            let (folder, kept) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz"), kept.display());
            eprintln!(
                "to run that input again: cargo +nightly fuzz run --fuzz-dir {} {target} {kept}",
                folder.display()
            );
            resume_unwind(panic);
        }
        count += 1;
    }
    // Past the test runner, which hides what a test prints that passes.
    let line = format!("fuzz target {target}: {count} inputs, of these {} as they are\n", seeds.len());
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// One of the seeds with a few changes of the kinds that damage and version drift make, seldom only noise.
fn change(rng: &mut ChaCha8Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    const EDGES: [u32; 9] = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
    if rng.random_ratio(1, 20) {
        let mut noise = vec![0; rng.random_range(0..600)];
        rng.fill_bytes(&mut noise);
        return noise;
    }
    let mut input = seeds[rng.random_range(0..seeds.len())].clone();
    for _ in 0..rng.random_range(1..6) {
        let len = input.len();
        // Where formats keep what leads to the rest: mostly near the start.
        let near = if rng.random() { len } else { len.min(128) };
        let at = rng.random_range(0..=near);
        let end = (at + rng.random_range(1..64)).min(len);
        match rng.random_range(0..9) {
            0 | 1 if at < len => input[at] ^= 1 << rng.random_range(0..8),
            2 if at < len => input[at] = EDGES[rng.random_range(0..5)] as u8,
            3 if at + 4 <= len => {
                let edge = EDGES[rng.random_range(0..EDGES.len())];
                let bytes = if rng.random() { edge.to_le_bytes() } else { edge.to_be_bytes() };
                input[at..at + 4].copy_from_slice(&bytes);
            }
            4 => drop(input.drain(at..end)),
            5 => {
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
            6 => {
                let mut noise = vec![0; rng.random_range(1..32)];
                rng.fill_bytes(&mut noise);
                input.splice(at..at, noise);
            }
            7 => {
                let other = &seeds[rng.random_range(0..seeds.len())];
                input.truncate(at);
                input.extend_from_slice(other.get(at..).unwrap_or_default());
            }
            8 if rng.random() => input.truncate(at),
            _ => {
                for byte in &mut input[at..end] {
                    *byte = 0;
                }
            }
        }
    }
    input
}

/// What libFuzzer is given is what is run here.
#[test]
fn no_target_is_left_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let manifest: toml::Table = fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap();
    let named: BTreeSet<&str> =
        manifest["bin"].as_array().unwrap().iter().map(|bin| bin["name"].as_str().unwrap()).collect();
    assert_eq!(named, TARGETS.iter().copied().collect());
    for name in TARGETS {
        let text = fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(text.contains(&format!("shopmend_fuzz::{name}::run(data)")), "{name}: {text}");
    }
}
