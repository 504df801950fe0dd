//! GIF (CompuServe GIF89a specification): blocks up to the trailer.

use super::{Problem, Stop, Walk, Walked};

/// Walks the blocks to the trailer.
pub(super) fn walk(walk: &mut Walk<'_>) -> Walked {
    walk.pin(0..4);
    let Some(flags) = walk.window.byte(10)? else {
        return Err(Problem::cut(walk.window.len(), "a screen descriptor"));
    };
    let mut at = 13 + table(flags);
    let mut image = false;
    loop {
        walk.control.safe_point()?;
        match walk.window.byte(at)? {
            Some(0x2c) => {
                let Some(flags) = walk.window.byte(at + 9)? else {
                    return Err(Problem::cut(walk.window.len(), "an image descriptor"));
                };
                let code_size = at + 10 + table(flags);
                match walk.window.byte(code_size)? {
                    Some(1..=11) => {}
                    Some(other) => return Err(Problem::broken(code_size, "a code size", other.to_string())),
                    None => return Err(Problem::cut(walk.window.len(), "image data")),
                }
                walk.pin(at..at + 1);
                at = sub_blocks(walk, code_size + 1)?;
                image = true;
            }
            Some(0x21) => {
                walk.pin(at..at + 1);
                at = sub_blocks(walk, at + 2)?;
            }
            Some(0x3b) if image => {
                walk.pin(at..at + 1);
                return Ok(());
            }
            Some(other) => return Err(Problem::broken(at, "a block", format!("{other:#04x}"))),
            None => return Err(Problem::cut(at, "the trailer")),
        }
    }
}

/// Length of the colour table that `flags` announce.
fn table(flags: u8) -> u64 {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

/// Passes over a chain of sub-blocks: hands back what lies behind it.
fn sub_blocks(walk: &mut Walk<'_>, start: u64) -> Result<u64, Stop> {
    let mut at = start;
    loop {
        match walk.window.byte(at)? {
            Some(0) => return Ok(at + 1),
            Some(len) => at += 1 + u64::from(len),
            None => return Err(Problem::cut(walk.window.len(), "the rest of a block")),
        }
    }
}
