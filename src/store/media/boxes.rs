//! MP4 and HEIF (ISO/IEC 14496-12): a tree of boxes that fills the file.

use super::{Problem, Walk, Walked};

/// Boxes that hold nothing but boxes.
const HOLDERS: [[u8; 4]; 12] = [
    *b"moov", *b"trak", *b"mdia", *b"minf", *b"stbl", *b"edts", *b"dinf", *b"mvex", *b"moof", *b"traf",
    *b"mfra", *b"iprp",
];
/// Deepest nesting and most boxes that are followed.
const MAX_DEPTH: usize = 12;
const MAX_BOXES: u32 = 200_000;

/// Walks the tree; each of `needed` must be at its top.
pub(super) fn walk(walk: &mut Walk<'_>, needed: &[[u8; 4]]) -> Walked {
    let len = walk.window.len();
    let mut seen = Vec::new();
    let mut fragmented = false;
    let mut count = 0;
    // Where the open boxes end, outermost first.
    let mut open = vec![len];
    let mut at = 0;
    while let Some(&end) = open.last() {
        walk.control.safe_point()?;
        if at == end {
            open.pop();
            continue;
        }
        count += 1;
        if count > MAX_BOXES {
            return Err(super::Stop::Bound("media files of more than 200000 boxes"));
        }
        let top = open.len() == 1;
        if top && walk.window.array(at)? == Some([0_u8; 8]) {
            // Content that never reached the disk.
            return Err(Problem::broken(at, "a box", "zero bytes"));
        }
        let (Some(short), Some(kind)) = (walk.window.be32(at)?, walk.window.array::<4>(at + 4)?) else {
            return Err(Problem::cut(len, "a box"));
        };
        let (header, size) = match short {
            0 => (8, end - at),
            1 => match walk.window.array(at + 8)?.map(u64::from_be_bytes) {
                Some(size) => (16, size),
                None => return Err(Problem::cut(len, "a box's length")),
            },
            short => (8, u64::from(short)),
        };
        if size < header {
            return Err(Problem::broken(at, format!("a box of at least {header} bytes"), size.to_string()));
        }
        let Some(next) = at.checked_add(size).filter(|&next| next <= end) else {
            return Err(if top && at > 0 && is_name(kind) {
                Problem::cut(len, format!("a box {} of {size} bytes at byte {at}", kind.escape_ascii()))
            } else {
                Problem::broken(at, format!("a box that ends by byte {end}"), format!("{size} bytes"))
            });
        };
        if !is_name(kind) {
            return Err(Problem::broken(at + 4, "a box's name", kind.escape_ascii().to_string()));
        }
        if top {
            // A fragmented movie may end in front of any of its fragments.
            let from = if matches!(&kind, b"moof" | b"mfra") { at + 1 } else { at };
            walk.pin(from..at + 4);
            seen.push(kind);
        }
        fragmented |= kind == *b"mvex";
        if HOLDERS.contains(&kind) && open.len() < MAX_DEPTH {
            open.push(next);
            at += header;
        } else {
            at = next;
        }
    }
    for kind in needed {
        if !seen.contains(kind) {
            return Err(Problem::broken(len, format!("a box {}", kind.escape_ascii()), "none"));
        }
    }
    if seen.contains(b"meta") && needed.contains(b"meta") {
        return items(walk);
    }
    let (movie, data) = (seen.contains(b"moov"), seen.contains(b"mdat"));
    // A movie without media data is the head of a fragmented one.
    let whole = match seen.last() {
        Some(b"moof") => false,
        _ => (movie && (data || fragmented)) || (seen.contains(b"moof") && data),
    };
    if whole { Ok(()) } else { Err(Problem::cut(len, if movie { "a box mdat" } else { "a box moov" })) }
}

/// A still's items must lie inside the file (`meta`/`iloc`, ISO/IEC 14496-12
/// 8.11.3).
fn items(walk: &mut Walk<'_>) -> Walked {
    let len = walk.window.len();
    let Some((meta, meta_end)) = child(walk, 0, len, *b"meta")? else { return Ok(()) };
    // `meta` has a version before its boxes.
    let Some((iloc, end)) = child(walk, meta + 4, meta_end, *b"iloc")? else {
        return Err(Problem::broken(meta, "a box iloc", "none"));
    };
    let cut = || Problem::broken(iloc, "a list of items", "one that is cut short");
    let version = walk.window.byte(iloc)?.unwrap_or(0);
    let Some([sizes, base]) = walk.window.array::<2>(iloc + 4)? else { return Err(cut()) };
    let (offset_size, length_size, base_size) = (sizes >> 4, sizes & 15, base >> 4);
    let index_size = if version == 0 { 0 } else { base & 15 };
    let id_size = if version < 2 { 2 } else { 4 };
    let mut at = iloc + 6;
    let mut next = |walk: &mut Walk<'_>, size: u8| -> Result<u64, super::Stop> {
        if at + u64::from(size) > end {
            return Err(cut());
        }
        let mut value = 0_u64;
        for _ in 0..size {
            value = value << 8 | u64::from(walk.window.byte(at)?.unwrap_or(0));
            at += 1;
        }
        Ok(value)
    };
    for _ in 0..next(walk, id_size)? {
        walk.control.safe_point()?;
        next(walk, id_size)?;
        let method = if version == 0 { 0 } else { next(walk, 2)? & 15 };
        next(walk, 2)?;
        let base = next(walk, base_size)?;
        for _ in 0..next(walk, 2)? {
            next(walk, index_size)?;
            let offset = next(walk, offset_size)?;
            let length = next(walk, length_size)?;
            // Other methods count from `idat` or from another item.
            let inside =
                base.checked_add(offset).and_then(|at| at.checked_add(length)).is_some_and(|end| end <= len);
            if method == 0 && !inside {
                return Err(Problem::cut(
                    len,
                    format!("{length} bytes of the picture at byte {base}+{offset}"),
                ));
            }
        }
    }
    Ok(())
}

/// The content of the first box of that name among those from `at` to `end`.
fn child(
    walk: &mut Walk<'_>,
    mut at: u64,
    end: u64,
    name: [u8; 4],
) -> Result<Option<(u64, u64)>, super::Stop> {
    while at < end {
        walk.control.safe_point()?;
        let (Some(size), Some(kind)) = (walk.window.be32(at)?, walk.window.array::<4>(at + 4)?) else {
            break;
        };
        let (header, size) = match size {
            0 => (8, end - at),
            1 => (16, walk.window.array(at + 8)?.map_or(0, u64::from_be_bytes)),
            size => (8, u64::from(size)),
        };
        let Some(next) = at.checked_add(size).filter(|&next| size >= header && next <= end) else {
            return Err(Problem::broken(
                at,
                format!("a box that ends by byte {end}"),
                format!("{size} bytes"),
            ));
        };
        if kind == name {
            return Ok(Some((at + header, next)));
        }
        at = next;
    }
    Ok(None)
}

fn is_name(kind: [u8; 4]) -> bool {
    // QuickTime's own boxes begin with a copyright sign.
    kind.iter().all(|&b| b.is_ascii_graphic() || matches!(b, b' ' | 0xa9))
}
