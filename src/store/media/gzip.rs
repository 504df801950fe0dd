//! gzip (RFC 1952): header, deflated data, CRC-32 and length.

use std::io::Read as _;

use flate2::bufread::GzDecoder;

use super::window::Part;
use super::{Problem, Stop, Walk, Walked};

/// Most bytes that are inflated of one file: 1 GiB; less in tests.
pub(super) const MAX_INFLATED: u64 = if cfg!(test) { 16 << 20 } else { 1 << 30 };

/// Walks the members; at the deep level each is inflated and its CRC held
/// against its trailer.
pub(super) fn walk(walk: &mut Walk<'_>) -> Walked {
    let len = walk.window.len();
    // Header of 10, an empty deflate block of 2, trailer of 8.
    if len < 20 {
        return Err(Problem::cut(len, "at least 20 bytes"));
    }
    walk.pin(0..3);
    if !walk.deep() {
        walk.note("the content of gzip files: use --deep");
        return Ok(());
    }
    let mut inflated = 0;
    let mut at = 0;
    let mut buffer = vec![0; 64 * 1024];
    while at < len {
        let body = header(walk, at)?;
        let mut member = GzDecoder::new(Part::new(&mut walk.window, at, len));
        loop {
            walk.control.safe_point()?;
            match member.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => inflated += n as u64,
                Err(e) => {
                    let offset = member.get_ref().position();
                    return Err(match e.kind() {
                        std::io::ErrorKind::UnexpectedEof if offset >= len => {
                            Problem::cut(len, "deflated data")
                        }
                        std::io::ErrorKind::InvalidInput
                        | std::io::ErrorKind::InvalidData
                        | std::io::ErrorKind::UnexpectedEof => Problem::stop(
                            "media.checksum",
                            offset.min(len),
                            "sound deflated data",
                            e.to_string(),
                        ),
                        _ => Stop::Read(e),
                    });
                }
            }
            if inflated > MAX_INFLATED {
                return Err(Stop::Bound("gzip files that inflate to more than 1 GiB"));
            }
        }
        let end = member.get_ref().position();
        if end <= at {
            return Err(Problem::broken(at, "a member", "none"));
        }
        if body < end {
            walk.pin(body..end);
        }
        at = end;
        // Zeros behind the last member are padding.
        if at < len && walk.window.byte(at)? == Some(0) {
            break;
        }
    }
    Ok(())
}

/// Where a member's deflated data begins.
fn header(walk: &mut Walk<'_>, start: u64) -> Result<u64, Stop> {
    let Some(fixed) = walk.window.array::<10>(start)? else {
        return Err(Problem::cut(walk.window.len(), "a member's header"));
    };
    let [0x1f, 0x8b, 8, flags, ..] = fixed else {
        return Err(Problem::broken(start, "a member's header", fixed.escape_ascii().to_string()));
    };
    let mut at = start + 10;
    if flags & 4 != 0 {
        at += 2 + u64::from(walk.window.le16(at)?.unwrap_or(0));
    }
    // A file name and a comment, each ended by a zero.
    for _ in [8, 16].into_iter().filter(|flag| flags & flag != 0) {
        loop {
            at += 1;
            match walk.window.byte(at - 1)? {
                Some(0) => break,
                Some(_) => {}
                None => return Err(Problem::cut(walk.window.len(), "the end of a name")),
            }
        }
    }
    Ok(if flags & 2 != 0 { at + 2 } else { at })
}
