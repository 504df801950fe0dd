//! What `find … -exec stat -c … {} +` prints on a device.
//!
//! toybox writes each sign and each field of a format by itself, which takes
//! longer than all the rest, so there are as few as tell the fields apart: the
//! permissions and the times have ends of their own. A path stands last, after
//! a `/`: it begins with the first `//`, which no path has in it, since names
//! hold no `/`. It ends before the last line feed that the next `//` follows:
//! none of the fields before that has one. So none, whatever its bytes, can look
//! like the end of its record.
//!
//! `find -printf` would save the second program, but Android 10 has none, and
//! that of toybox tells neither of the device nor of links, nor when a file was
//! last read or changed: a file that was written anew under its old time would
//! pass for unchanged.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::bytes::{bytes, name};
use crate::fsys::{Kind, MAX_DEPTH, Meta};

/// For toybox's `stat -c`: device, type and permissions in letters, access and
/// modification time, inode, change time, links, user, group and size, then the
/// path.
pub const FORMAT: &str = "%d%A%x%y%i%z%h %u %g %s/%n";
/// The same for no more than shows whether a file is still what it was: access
/// and modification time, inode, change time and size. With half as many writes
/// it takes a device a quarter less time.
pub const SIGNS: &str = "%x%y%i%z%s/%n";
/// What stands before each path.
const MARK: &[u8] = b"//";
/// How long type and permissions are.
const LETTERS: usize = 10;
/// How long the zone after a time is.
const ZONE: usize = 5;
/// More entries than any app has.
const MAX_ENTRIES: usize = 3_000_000;
/// No file system takes longer paths.
const MAX_PATH: usize = 4096;
/// Set in every device number, so that it is none of this machine's.
const ELSEWHERE: u64 = 1 << 63;

/// What shows whether a file is still what it was. Whatever else changes of it,
/// but for its access time, gives it a new change time; the modification time is
/// for file systems that have no such time, on which all files are one owner's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signs {
    /// Nanoseconds since 1970.
    pub atime_ns: i128,
    /// Nanoseconds since 1970.
    pub mtime_ns: i128,
    pub ino: u64,
    /// Nanoseconds since 1970.
    pub ctime_ns: i128,
    /// Bytes.
    pub size: u64,
}

/// What a listing says of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// By [`FORMAT`].
    All(Meta),
    /// By [`SIGNS`].
    Signs(Signs),
}

/// Reads records that [`FORMAT`] made; all paths must be one of `roots` or lie
/// below one.
///
/// # Errors
/// As [`parse_both`].
pub fn parse(text: &[u8], roots: &[&Path]) -> io::Result<Vec<(PathBuf, Meta)>> {
    records(text, roots, |path, _, fields, times| Ok((path, one(fields, times)?)))
}

/// Reads records that [`FORMAT`] or [`SIGNS`] made, each with the number of its
/// root; all paths must be one of `roots` or lie below one.
///
/// # Errors
/// `InvalidData` for what no honest device prints: a path elsewhere, with
/// `..` in it or longer than any, a record that is cut short, numbers that
/// are none.
pub fn parse_both(text: &[u8], roots: &[&Path]) -> io::Result<Vec<(PathBuf, usize, Said)>> {
    records(text, roots, |path, root, fields, times| {
        // A device's number is followed by letters, a year by a month.
        let after = fields.iter().position(|b| !b.is_ascii_digit()).and_then(|at| fields.get(at..));
        let said = match after {
            Some([b'-', b'0'..=b'9', ..]) => Said::Signs(signs(fields, times)?),
            _ => Said::All(one(fields, times)?),
        };
        Ok((path, root, said))
    })
}

/// Cuts a listing into records, which `read` gets as path, number of its root
/// and what stands before the path.
fn records<'t, T, R>(text: &'t [u8], roots: &[&Path], mut read: R) -> io::Result<Vec<T>>
where
    R: FnMut(PathBuf, usize, &'t [u8], &mut Times<'t>) -> io::Result<T>,
{
    let roots: Vec<_> = roots.iter().map(|root| bytes(*root)).collect();
    let finder = memchr::memmem::Finder::new(MARK);
    let cut_short = || lie("a record is cut short");
    let mut out = Vec::new();
    if text.is_empty() {
        return Ok(out);
    }
    let mut times = Times::default();
    // Most lie below the same root as the one before.
    let mut last = 0;
    let at = finder.find(text).ok_or_else(|| lie("it is no listing"))?;
    let (mut fields, mut rest) = text.split_at_checked(at).ok_or_else(cut_short)?;
    while let Some(body) = rest.get(1..).filter(|body| !body.is_empty()) {
        let end = finder.find(body);
        let record = body.get(..end.unwrap_or(body.len())).ok_or_else(cut_short)?;
        let line = memchr::memrchr(b'\n', record).ok_or_else(cut_short)?;
        let (on_device, next) = record.split_at_checked(line).ok_or_else(cut_short)?;
        let ahead = next.get(1..).unwrap_or_default();
        if end.is_none() && !ahead.is_empty() {
            return Err(cut_short());
        }
        if !roots.get(last).is_some_and(|root| is_below(on_device, root)) {
            let found = roots.iter().position(|root| is_below(on_device, root));
            last = found.ok_or_else(|| lie("it names a path outside of what was asked for"))?;
        }
        let path = PathBuf::from(name(on_device));
        if !is_plain(&path) {
            return Err(lie("it names a path that cannot be"));
        }
        out.push(read(path, last, fields, &mut times)?);
        fields = ahead;
        if out.len() > MAX_ENTRIES {
            return Err(lie("it has more entries than any device"));
        }
        rest = body.get(record.len()..).unwrap_or_default();
    }
    Ok(out)
}

/// Whether it is a listing, rather than a complaint.
pub(crate) fn is_listing(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_digit)
}

fn lie(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the device's listing is inconsistent: {what}"))
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

/// What stands before a path by [`FORMAT`].
fn one<'t>(record: &'t [u8], times: &mut Times<'t>) -> io::Result<Meta> {
    let digits = record.iter().take_while(|b| b.is_ascii_digit()).count();
    let (dev, rest) = record.split_at_checked(digits).ok_or_else(malformed)?;
    let (letters, rest) = rest.split_first_chunk::<LETTERS>().ok_or_else(malformed)?;
    let (kind, mode) = kind_and_mode(letters).ok_or_else(malformed)?;
    let (atime_ns, rest) = times.next(rest)?;
    let (mtime_ns, rest) = times.next(rest)?;
    let (ino, rest) = before_year(rest)?;
    let (ctime_ns, rest) = times.next(rest)?;
    let mut words = rest.split(|&b| b == b' ');
    let mut word = || words.next().ok_or_else(malformed);
    let (links, uid, gid, size) = (number(word()?)?, number(word()?)?, number(word()?)?, number(word()?)?);
    if words.next().is_some() {
        return Err(malformed());
    }
    Ok(Meta {
        kind,
        size,
        mtime_ns,
        atime_ns,
        ctime_ns,
        dev: number::<u64>(dev)? | ELSEWHERE,
        ino: number(ino)?,
        mode,
        flags: 0,
        uid,
        gid,
        links,
        // Nobody asks it of a file elsewhere.
        allocated: size,
    })
}

/// What stands before a path by [`SIGNS`].
fn signs<'t>(record: &'t [u8], times: &mut Times<'t>) -> io::Result<Signs> {
    let (atime_ns, rest) = times.next(record)?;
    let (mtime_ns, rest) = times.next(rest)?;
    let (ino, rest) = before_year(rest)?;
    let (ctime_ns, size) = times.next(rest)?;
    Ok(Signs { atime_ns, mtime_ns, ino: number(ino)?, ctime_ns, size: number(size)? })
}

fn malformed() -> io::Error {
    lie("a record is malformed")
}

fn number<N: std::str::FromStr>(text: &[u8]) -> io::Result<N> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or_else(malformed)
}

/// Parts what stands before a change time: its year has four digits, no clock
/// of a device goes beyond.
fn before_year(text: &[u8]) -> io::Result<(&[u8], &[u8])> {
    let year = memchr::memchr(b'-', text).and_then(|at| at.checked_sub(4));
    year.and_then(|at| text.split_at_checked(at)).ok_or_else(malformed)
}

/// `-rw-r--r--` and the like.
fn kind_and_mode(letters: &[u8; LETTERS]) -> Option<(Kind, u32)> {
    let [kind, bits @ ..] = letters;
    let kind = match kind {
        b'-' => Kind::File,
        b'd' => Kind::Dir,
        b'l' => Kind::Link,
        b'b' | b'c' | b'p' | b's' | b'?' => Kind::Other,
        _ => return None,
    };
    let mut mode = 0;
    for (n, (bit, letter)) in bits.iter().zip(b"rwxrwxrwx").enumerate() {
        // Set user, set group and sticky stand in the place of an `x`.
        let special = || (n % 3 == 2).then_some(1 << (11 - n / 3));
        let own = 1 << (8 - n);
        mode |= match bit {
            b'-' => 0,
            bit if bit == letter => own,
            b's' if n < 8 => own | special()?,
            b'S' if n < 8 => special()?,
            b't' if n == 8 => own | special()?,
            b'T' if n == 8 => special()?,
            _ => return None,
        };
    }
    Some((kind, mode))
}

/// Parts a time, which ends with its zone, from what follows.
fn split_time(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let zone = memchr::memchr_iter(b' ', text).nth(1)?;
    text.split_at_checked(zone + 1 + ZONE)
}

/// Reads times; many files have the same one.
#[derive(Default)]
struct Times<'t> {
    last: Option<(&'t [u8], i128)>,
}

impl<'t> Times<'t> {
    /// Reads the time that a text begins with; gives what follows as well.
    fn next(&mut self, text: &'t [u8]) -> io::Result<(i128, &'t [u8])> {
        let (this, rest) = split_time(text).ok_or_else(malformed)?;
        Ok((self.read(this).ok_or_else(malformed)?, rest))
    }

    fn read(&mut self, text: &'t [u8]) -> Option<i128> {
        if let Some((last, ns)) = self.last
            && last == text
        {
            return Some(ns);
        }
        let ns = time(text)?;
        self.last = Some((text, ns));
        Some(ns)
    }
}

/// `2026-11-22 07:18:55.123456789 +0000` in nanoseconds since 1970.
pub(crate) fn time(text: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    let mut words = text.split_ascii_whitespace();
    let (date, clock, zone) = (words.next()?, words.next()?, words.next().unwrap_or("+0000"));
    let (date_year, date_rest) = date.rsplit_once('-').and_then(|(ym, d)| Some((ym.rsplit_once('-')?, d)))?;
    let (year, month, day) =
        (date_year.0.parse::<i64>().ok()?, date_year.1.parse().ok()?, date_rest.parse().ok()?);
    // An app may give its file any time: that hides no other file.
    if year >= 10_000 {
        return Some(jiff::Timestamp::MAX.as_nanosecond());
    }
    let year = i16::try_from(year).ok()?;
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

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStrExt as _;
    use std::time::{Duration, UNIX_EPOCH};

    const GOOD: &str = "64513-rw-r--r--2026-11-22 07:18:55.123456789 +00002026-11-22 08:18:55.5 +010077\
                        1969-12-31 23:59:59.0 +00001 10123 20123 1234/";

    fn listing(paths: &[&[u8]]) -> Vec<u8> {
        paths.iter().flat_map(|p| [GOOD.as_bytes(), p, b"\n"].concat()).collect()
    }

    #[test]
    fn names_of_any_bytes_come_through() {
        let odd: &[u8] = b"/data/x/a\nb|c \xff'";
        // Even one that holds all of a record but the one thing it cannot.
        let worse = listing(&[b"data/x/c"]);
        let worse = [b"/data/x/d\n".as_slice(), worse.as_slice()].concat();
        let all = [b"/data/x".as_slice(), odd, &worse, b"/data/x/e\n", b"/data/x/f"];
        let found = parse(&listing(&all), &[Path::new("/data/x")]).unwrap();
        let paths: Vec<_> = found.iter().map(|(p, _)| p.as_os_str().as_bytes()).collect();
        assert_eq!(paths, all);
        let meta = found[1].1;
        assert_eq!((meta.kind, meta.mode, meta.size, meta.links), (Kind::File, 0o644, 1234, 1));
        assert_eq!((meta.dev, meta.ino), (0xfc01 | ELSEWHERE, 77));
        assert_eq!((meta.uid, meta.gid, meta.ctime_ns), (10123, 20123, -1_000_000_000));
        assert_eq!(meta.atime_ns % 1_000_000_000, 123_456_789);
        assert_eq!(meta.atime_ns - meta.mtime_ns, 123_456_789 - 500_000_000);
        assert_eq!(
            time(touch_time(meta.atime_ns).unwrap().replace('T', " ").replace('Z', " +0000").as_bytes()),
            Some(meta.atime_ns)
        );
    }

    /// Either form, one after the other, with names that look like the other's.
    #[test]
    fn both_forms_are_told_apart() {
        let brief = "11476-07-15 20:00:00.5 +00001969-12-31 23:59:59.0 +0000772026-11-22 07:18:55.000000001 +0000121/";
        let odd = [b"/data/x/a\n".as_slice(), GOOD.as_bytes(), b"\n"].concat();
        let text: Vec<u8> = [
            (GOOD, b"/data/x".as_slice()),
            (brief, b"/data/x/d\n2026-1"),
            (brief, b"/data/y"),
            (GOOD, b"/data/x/b"),
            (brief, b"/data/x/\n"),
        ]
        .iter()
        .flat_map(|(fields, path)| [fields.as_bytes(), path, b"\n"].concat())
        .collect();
        let roots = [Path::new("/data/x"), Path::new("/data/y")];
        let found = parse_both(&text, &roots).unwrap();
        let whole = parse(&listing(&[b"/data/x"]), &roots).unwrap()[0].1;
        let signs = Signs {
            atime_ns: jiff::Timestamp::MAX.as_nanosecond(),
            mtime_ns: -1_000_000_000,
            ino: 77,
            ctime_ns: time(b"2026-11-22 07:18:55.000000001 +0000").unwrap(),
            size: 121,
        };
        let expected = [
            ("/data/x", 0, Said::All(whole)),
            ("/data/x/d\n2026-1", 0, Said::Signs(signs)),
            ("/data/y", 1, Said::Signs(signs)),
            ("/data/x/b", 0, Said::All(whole)),
            ("/data/x/\n", 0, Said::Signs(signs)),
        ];
        assert_eq!(found, expected.map(|(path, root, said)| (PathBuf::from(path), root, said)));
        // Who asked for all does not take less.
        assert!(parse(&text, &roots).is_err());
        assert!(parse_both(&listing(&[&odd]), &roots).is_ok_and(|all| all.len() == 1));
    }

    /// The same program that phones have says it of real files.
    #[test]
    fn toybox_prints_what_is_read() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        let tmp = tempfile::tempdir().unwrap();
        let top = tmp.path().canonicalize().unwrap();
        let modes = [0o0, 0o644, 0o7777, 0o4711, 0o4600, 0o2770, 0o2606, 0o1777, 0o1666, 0o123];
        for (n, mode) in modes.iter().enumerate() {
            let path = top.join(format!("{n}\n{n} -"));
            std::fs::write(&path, vec![b'x'; n * 1000]).unwrap();
            let time = UNIX_EPOCH + Duration::new(n as u64 * 400_000_000, n as u32 * 111);
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_times(std::fs::FileTimes::new().set_modified(time).set_accessed(time)).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).unwrap();
        }
        std::os::unix::fs::symlink("nowhere", top.join("link")).unwrap();
        let find = |format: &str| {
            let mut find = std::process::Command::new("toybox");
            find.arg("find")
                .arg(&top)
                .args(["-exec", "toybox", "stat", "-c", format, "{}", "+"])
                .env("TZ", "UTC0");
            find.output()
        };
        let Ok(out) = find(FORMAT) else {
            return crate::skip::skipped("toybox_prints_what_is_read", "toybox is missing");
        };
        assert!(is_listing(&out.stdout));
        let found = parse(&out.stdout, &[&top]).unwrap();
        assert_eq!(found.len(), modes.len() + 2);
        let brief = find(SIGNS).unwrap().stdout;
        assert!(brief.len() < out.stdout.len() * 9 / 10);
        let brief = parse_both(&brief, &[&top]).unwrap();
        for ((path, meta), (same, _, said)) in found.iter().zip(brief) {
            let Meta { atime_ns, mtime_ns, ino, ctime_ns, size, .. } = *meta;
            let signs = Signs { atime_ns, mtime_ns, ino, ctime_ns, size };
            assert_eq!((&same, said), (path, Said::Signs(signs)));
        }
        for (path, meta) in found {
            let real = std::fs::symlink_metadata(&path).unwrap();
            let time = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
            assert_eq!((meta.mode, meta.ino), (real.mode() & 0o7777, real.ino()), "{path:?}");
            assert_eq!((meta.size, meta.links), (real.len(), real.nlink()), "{path:?}");
            assert_eq!((meta.uid, meta.gid), (real.uid(), real.gid()), "{path:?}");
            assert_eq!(meta.mtime_ns, time(real.mtime(), real.mtime_nsec()), "{path:?}");
            assert_eq!(meta.atime_ns, time(real.atime(), real.atime_nsec()), "{path:?}");
            assert_eq!(meta.ctime_ns, time(real.ctime(), real.ctime_nsec()), "{path:?}");
            assert_eq!(meta.dev, real.dev() | ELSEWHERE, "{path:?}");
            let kind = real.file_type();
            assert_eq!(meta.kind == Kind::Dir, kind.is_dir());
            assert_eq!(meta.kind == Kind::Link, kind.is_symlink());
        }
    }

    #[test]
    fn a_file_of_a_far_future_hides_none() {
        let text = String::from_utf8(listing(&[b"/data/x/a", b"/data/x/b"])).unwrap();
        let text = text.replacen("2026-11-22 08:18:55.5", "11476-07-15 20:00:00.5", 1);
        let found = parse(text.as_bytes(), &[Path::new("/data/x")]).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found[0].1.mtime_ns > found[1].1.mtime_ns && found[0].1.ino == 77);
        assert!(touch_time(found[0].1.mtime_ns).unwrap().starts_with("9999-"));
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
        for end in 1..cut.len() {
            assert!(parse(&cut[..end], &[Path::new("/data/x")]).is_err(), "cut at {end}");
        }
        let two = listing(&[b"/data/x/one", b"/data/x/two"]);
        for end in (1..two.len()).filter(|end| *end != two.len() / 2) {
            assert!(parse(&two[..end], &[Path::new("/data/x")]).is_err(), "cut at {end}");
        }
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
