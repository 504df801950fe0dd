use std::io::{Read as _, Write as _};

use proptest::prelude::*;

use super::super::damage::{Bench, Checked};
use super::*;
use crate::sample::{media as sample, noise};

/// Every form, from its real encoder: Pillow, libheif and ffmpeg; the archives
/// are written here by the library that `flate2` wraps, and by hand.
fn sound() -> Vec<(&'static str, Vec<u8>)> {
    let data = |name: &str| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/media/").to_owned() + name;
        std::fs::read(path).unwrap()
    };
    vec![
        ("baseline.jpg", sample::jpeg("a", 900)),
        ("progressive.jpg", data("prog.jpeg")),
        ("plain.png", sample::png("a", 1500)),
        ("plain.gif", sample::gif()),
        ("animated.gif", data("anim.gif")),
        ("lossy.webp", sample::webp("a", 0)),
        ("lossless.webp", data("lossless.webp")),
        ("animated.webp", data("anim.webp")),
        ("still.heic", sample::heic()),
        ("still.avif", data("still.avif")),
        ("clip.mp4", sample::mp4("a", 0)),
        ("fast.mp4", data("fast.mp4")),
        ("fragments.mp4", data("frag.mp4")),
        ("text.gz", gzip()),
        ("files.zip", archive()),
    ]
}

fn gzip() -> Vec<u8> {
    let mut out =
        flate2::GzBuilder::new().filename("orders.csv").write(Vec::new(), flate2::Compression::default());
    out.write_all(&noise("gz", 3000)).unwrap();
    out.finish().unwrap()
}

fn archive() -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, content, method) in
        [("a.txt", noise("zip a", 700), 8_u16), ("dir/b.bin", noise("zip b", 300), 0)]
    {
        let mut packed = Vec::new();
        match method {
            0 => packed.clone_from(&content),
            _ => {
                flate2::read::DeflateEncoder::new(&content[..], flate2::Compression::best())
                    .read_to_end(&mut packed)
                    .unwrap();
            }
        }
        let mut common = vec![20, 0, 0, 0];
        common.extend(method.to_le_bytes());
        common.extend([0; 4]);
        common.extend(crc32fast::hash(&content).to_le_bytes());
        common.extend((packed.len() as u32).to_le_bytes());
        common.extend((content.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0; 2]);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend((out.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(name.as_bytes());
        out.extend(packed);
    }
    let start = out.len() as u32;
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0\x02\0\x02\0");
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0; 2]);
    out
}

fn judged(bytes: &[u8], level: Level) -> Judged {
    judge(&bytes.to_vec(), level, &mut |_| {}, &Control::default()).unwrap()
}

fn code(bytes: &[u8]) -> Option<&'static str> {
    judged(bytes, Level::Deep).problem.map(|p| p.code)
}

fn deep(subject: Subject<'_>) -> Checked {
    tally(subject, Level::Deep, &Control::default())
}

fn fast(subject: Subject<'_>) -> Checked {
    tally(subject, Level::Fast, &Control::default())
}

#[test]
fn filler_that_readers_skip_is_sound() {
    for bytes in [
        sample::jpeg("f", 150_000),
        sample::png("f", 90_000),
        sample::webp("f", 70_001),
        sample::mp4("f", 9000),
    ] {
        assert_eq!(code(&bytes), None);
    }
}

#[test]
fn what_real_encoders_write_is_sound() {
    for (name, bytes) in sound() {
        for level in [Level::Fast, Level::Deep] {
            let judged = judged(&bytes, level);
            assert_eq!(judged.problem, None, "{name}");
            assert_eq!(judged.format, MediaFormat::named(&RelPath::new(name).unwrap()), "{name}");
        }
    }
}

#[test]
fn damage_that_is_covered_is_found() {
    for (seed, (name, bytes)) in (100..).zip(sound()) {
        let bench = Bench::new(name).parsed();
        bench.write(name, bytes);
        bench.every_damage_is_found(seed, &deep);
        bench.damage_is_found(30, seed + 50, &fast);
    }
}

#[test]
fn every_cut_is_found() {
    for (name, bytes) in sound() {
        for end in 0..bytes.len() {
            // A fragmented clip may end behind any of its fragments.
            let fragment = bytes.get(end + 4..end + 8).is_some_and(|kind| kind == b"moof" || kind == b"mfra");
            if name == "fragments.mp4" && fragment {
                continue;
            }
            let found = code(&bytes[..end]);
            let mislabelled = MediaFormat::of(&bytes[..end]).is_none();
            assert!(found.is_some() || mislabelled, "{name} cut at {end} of {}", bytes.len());
        }
    }
}

#[test]
fn files_without_content_are_named() {
    assert_eq!(code(b""), Some("media.empty"));
    assert_eq!(code(&vec![0; 300_000]), Some("media.zeros"));
    let mut almost = vec![0; 300_000];
    almost[299_999] = 1;
    assert_eq!(code(&almost), None);
}

#[test]
fn a_zeroed_end_is_found() {
    // Of the others the end is nothing but coded data.
    let at_the_end = [".jpg", ".png", ".gif", "clip.mp4", ".gz", ".zip"];
    for (name, mut bytes) in sound() {
        if !at_the_end.iter().any(|end| name.ends_with(end)) {
            continue;
        }
        let half = bytes.len() / 2;
        bytes[half..].fill(0);
        assert!(code(&bytes).is_some(), "{name}");
    }
}

#[test]
fn a_name_that_lies_is_told() {
    let state = |name: &str, bytes: &[u8]| {
        let bench = Bench::new(name).parsed();
        bench.write(name, bytes);
        bench.findings(&deep).into_iter().map(|f| (f.code, f.severity)).collect::<Vec<_>>()
    };
    let told = |severity| vec![("media.mislabelled".to_owned(), severity)];
    assert_eq!(state("a.jpg", &sample::webp("x", 300)), told(Severity::Info));
    assert_eq!(state("a.jpg", b"<html>404 not found</html>"), told(Severity::Error));
    assert_eq!(state("a.cnt", b"anything else"), vec![]);
    assert_eq!(state("a.jpg", &sample::jpeg("x", 500)), vec![]);
}

#[test]
fn a_bomb_is_bounded() {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let zeros = vec![0; 1 << 20];
    for _ in 0..=(super::gzip::MAX_INFLATED >> 20) {
        out.write_all(&zeros).unwrap();
    }
    let judged = judged(&out.finish().unwrap(), Level::Deep);
    assert_eq!(judged.problem, None);
    assert_eq!(judged.notes, ["gzip files that inflate to more than 1 GiB"]);
}

#[test]
fn a_long_image_is_judged_by_its_ends_at_the_fast_level() {
    let mut bytes = sample::jpeg("a", 500);
    let scan = bytes.windows(2).position(|w| w == [0xff, 0xda]).unwrap() + 14;
    bytes.splice(scan..scan, vec![0x55; 400_000]);
    assert!(judged(&bytes, Level::Fast).problem.is_none());
    bytes.truncate(bytes.len() - 2);
    assert_eq!(judged(&bytes, Level::Fast).problem.unwrap().code, "media.truncated");
}

proptest! {
    #[test]
    fn any_bytes_are_judged(
        kind in 0_usize..15,
        keep in 0_usize..64,
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let (_, mut bytes) = sound().swap_remove(kind);
        bytes.truncate(keep);
        bytes.extend(rest);
        judged(&bytes, Level::Deep);
        judged(&bytes, Level::Fast);
    }

    #[test]
    fn any_damage_is_judged(
        kind in 0_usize..15,
        at in any::<prop::sample::Index>(),
        with in prop::collection::vec(any::<u8>(), 1..9),
    ) {
        let (_, mut bytes) = sound().swap_remove(kind);
        let at = at.index(bytes.len());
        for (slot, byte) in bytes.iter_mut().skip(at).zip(with) { *slot = byte; }
        judged(&bytes, Level::Deep);
    }
}
