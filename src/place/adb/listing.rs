//! What `find … -exec stat -c … {} +` prints on a device.
//!
//! Each record begins with `//`, which no path has in it: names hold no `/`, so
//! none, whatever its bytes, can look like the beginning of a record. toybox
//! writes each sign of a format by itself, so a long mark would take longer
//! than all the rest.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::bytes::{bytes, name};
use crate::fsys::{Kind, MAX_DEPTH, Meta};

/// For toybox's `stat -c`: the mark, then device, inode, mode in hex, links,
/// user, group, blocks and size, then access, modification and change time, then
/// the path.
pub const FORMAT: &str = "//%d %i %f %h %u %g %b %s %x%y%z%n";
/// What each record begins with.
pub(crate) const MARK: &[u8] = b"//";
/// toybox counts blocks of this size.
const BLOCK: u64 = 512;
/// More entries than any app has.
const MAX_ENTRIES: usize = 3_000_000;
/// No file system takes longer paths.
const MAX_PATH: usize = 4096;
/// Set in every device number, so that it is none of this machine's.
const ELSEWHERE: u64 = 1 << 63;

/// Reads records; all paths must be one of `roots` or lie below one.
///
/// # Errors
/// `InvalidData` for what no honest device prints: a path elsewhere, with
/// `..` in it or longer than any, a record that is cut short, numbers that
/// are none.
pub fn parse(text: &[u8], roots: &[&Path]) -> io::Result<Vec<(PathBuf, Meta)>> {
    let roots: Vec<_> = roots.iter().map(|root| bytes(*root)).collect();
    let finder = memchr::memmem::Finder::new(MARK);
    let mut out = Vec::new();
    let mut rest = text;
    // Most lie below the same root as the one before.
    let mut last = 0;
    while !rest.is_empty() {
        let body = rest.strip_prefix(MARK).ok_or_else(|| lie("it is no listing"))?;
        let end = finder.find(body).unwrap_or(body.len());
        let (record, next) = body.split_at_checked(end).unwrap_or((body, &[]));
        let record = record.strip_suffix(b"\n").ok_or_else(|| lie("a record is cut short"))?;
        let (on_device, meta) = one(record)?;
        if !roots.get(last).is_some_and(|root| is_below(on_device, root)) {
            let found = roots.iter().position(|root| is_below(on_device, root));
            last = found.ok_or_else(|| lie("it names a path outside of what was asked for"))?;
        }
        let path = PathBuf::from(name(on_device));
        if !is_plain(&path) {
            return Err(lie("it names a path that cannot be"));
        }
        out.push((path, meta));
        if out.len() > MAX_ENTRIES {
            return Err(lie("it has more entries than any device"));
        }
        rest = next;
    }
    Ok(out)
}

fn lie(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the device's listing is not to be believed: {what}"))
}

/// Whether a path is absolute, of plain names only, not too long or deep, and
/// `root` or below it.
pub(crate) fn is_plain_below(path: &Path, root: &Path) -> bool {
    is_plain(path) && is_below(&bytes(path), &bytes(root))
}

/// Whether a path is absolute, of plain names only and not too long.
fn is_plain(path: &Path) -> bool {
    let on_device = bytes(path);
    let plain_name = |n: &[u8]| !n.is_empty() && n != b"." && n != b".." && n.len() <= 255;
    on_device.len() <= MAX_PATH
        && on_device.first() == Some(&b'/')
        && on_device.split(|&b| b == b'/').skip(1).all(plain_name)
        && memchr::memchr(0, &on_device).is_none()
        && (cfg!(unix) || path.components().skip(1).all(|c| matches!(c, Component::Normal(_))))
}

/// Whether a plain path is `root` or lies below it, not too deep.
fn is_below(path: &[u8], root: &[u8]) -> bool {
    let Some(rest) = path.strip_prefix(root) else { return false };
    (rest.is_empty() || root == b"/" || rest.first() == Some(&b'/'))
        && memchr::memchr_iter(b'/', rest).count() <= MAX_DEPTH
}

fn one(record: &[u8]) -> io::Result<(&[u8], Meta)> {
    let bad = || lie("a record is malformed");
    let mut words = record.splitn(9, |&b| b == b' ');
    let mut word = || words.next().ok_or_else(bad);
    let (dev, ino, mode, links) = (word()?, word()?, word()?, word()?);
    let (uid, gid, blocks, size, mut rest) = (word()?, word()?, word()?, word()?, word()?);
    let text = |w| std::str::from_utf8(w).map_err(|_| bad());
    let number = |w| text(w)?.parse::<u64>().map_err(|_| bad());
    let id = |w| text(w)?.parse::<u32>().map_err(|_| bad());
    let mode = u32::from_str_radix(text(mode)?, 16).map_err(|_| bad())?;
    let kind = match mode & 0o170_000 {
        0o100_000 => Kind::File,
        0o040_000 => Kind::Dir,
        0o120_000 => Kind::Link,
        _ => Kind::Other,
    };
    // Each ends with its zone, which is five signs long.
    let mut next_time = || -> io::Result<i128> {
        let zone = memchr::memchr_iter(b' ', rest).nth(1).ok_or_else(bad)?;
        let (this, after) = rest.split_at_checked(zone + 6).ok_or_else(bad)?;
        rest = after;
        time(this).ok_or_else(bad)
    };
    let (atime_ns, mtime_ns, ctime_ns) = (next_time()?, next_time()?, next_time()?);
    let meta = Meta {
        kind,
        size: number(size)?,
        mtime_ns,
        atime_ns,
        ctime_ns,
        dev: number(dev)? | ELSEWHERE,
        ino: number(ino)?,
        mode: mode & 0o7777,
        flags: 0,
        uid: id(uid)?,
        gid: id(gid)?,
        links: number(links)?,
        allocated: number(blocks)?.saturating_mul(BLOCK),
    };
    Ok((rest, meta))
}

/// `2026-11-22 07:18:55.123456789 +0000` in nanoseconds since 1970.
pub(crate) fn time(text: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    let mut words = text.split_ascii_whitespace();
    let (date, clock, zone) = (words.next()?, words.next()?, words.next().unwrap_or("+0000"));
    let (date_year, date_rest) = date.rsplit_once('-').and_then(|(ym, d)| Some((ym.rsplit_once('-')?, d)))?;
    let (year, month, day) = (date_year.0.parse().ok()?, date_year.1.parse().ok()?, date_rest.parse().ok()?);
    let (hms, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut hms = hms.split(':').map(|p| p.parse::<i8>().ok());
    let (hour, minute, second) = (hms.next()??, hms.next()??, hms.next()??);
    let nanos: i32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let civil = jiff::civil::DateTime::new(year, month, day, hour, minute, second, nanos).ok()?;
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits = zone.get(1..).filter(|d| d.len() == 4 && d.bytes().all(|b| b.is_ascii_digit()))?;
    let offset: i128 =
        digits.get(..2)?.parse::<i128>().ok()? * 3600 + digits.get(2..)?.parse::<i128>().ok()? * 60;
    let utc = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_nanosecond();
    Some(utc - sign * offset * 1_000_000_000)
}

/// Nanoseconds since 1970 as toybox's `touch -d` takes them.
pub(crate) fn touch_time(ns: i128) -> Option<String> {
    let stamp = jiff::Timestamp::from_nanosecond(ns).ok()?;
    let zoned = stamp.to_zoned(jiff::tz::TimeZone::UTC);
    Some(format!("{}Z", zoned.strftime("%Y-%m-%dT%H:%M:%S.%9f")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStrExt as _;

    const GOOD: &str = "//64513 77 81a4 1 10123 20123 8 1234 2026-11-22 07:18:55.123456789 +00002026-11-22 08:18:55.5 +01001969-12-31 23:59:59.0 +0000";

    fn listing(paths: &[&[u8]]) -> Vec<u8> {
        paths.iter().flat_map(|p| [GOOD.as_bytes(), p, b"\n"].concat()).collect()
    }

    #[test]
    fn names_of_any_bytes_come_through() {
        let odd: &[u8] = b"/data/x/a\nb|c \xff'";
        let found = parse(&listing(&[b"/data/x", odd]), &[Path::new("/data/x")]).unwrap();
        assert_eq!(found[1].0.as_os_str().as_bytes(), odd);
        let meta = found[1].1;
        assert_eq!((meta.kind, meta.mode, meta.size, meta.allocated), (Kind::File, 0o644, 1234, 4096));
        assert_eq!((meta.uid, meta.gid, meta.ctime_ns), (10123, 20123, -1_000_000_000));
        assert_eq!(meta.atime_ns % 1_000_000_000, 123_456_789);
        assert_eq!(meta.atime_ns - meta.mtime_ns, 123_456_789 - 500_000_000);
        assert_eq!(
            time(touch_time(meta.atime_ns).unwrap().replace('T', " ").replace('Z', " +0000").as_bytes()),
            Some(meta.atime_ns)
        );
    }

    #[test]
    fn a_device_that_lies_is_not_believed() {
        let long = [b"/data/x/".to_vec(), vec![b'a'; 5000]].concat();
        let deep = [b"/data/x".to_vec(), b"/d".repeat(200)].concat();
        for bad in [
            &b"/etc/passwd"[..],
            b"/data/x/../y",
            b"/data/x/./y",
            b"/data/x/a\0b",
            b"../y",
            b"/data/xy",
            b"/data/x//y",
            b"/data/x/",
            b"",
            &long,
            &deep,
        ] {
            assert!(parse(&listing(&[b"/data/x", bad]), &[Path::new("/data/x")]).is_err(), "{bad:?}");
        }
        assert!(parse(b"hello", &[Path::new("/")]).is_err());
        let cut = listing(&[b"/data/x/file"]);
        assert!(parse(&cut[..cut.len() - 1], &[Path::new("/data/x")]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_a_result(bytes in prop::collection::vec(any::<u8>(), 0..200), glue in any::<bool>()) {
            let text = if glue { [GOOD.as_bytes(), &bytes, b"\n"].concat() } else { bytes };
            if let Ok(all) = parse(&text, &[Path::new("/data")]) {
                prop_assert!(all.iter().all(|(p, _)| p.starts_with("/data")));
            }
            let _ = time(&text);
        }
    }
}
