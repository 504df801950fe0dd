//! The LZ4 block format (LZ4 `lz4_Block_format.md`): runs of literals, each
//! followed by a copy of what was written before.

/// Unpacks a block into exactly `size` bytes.
///
/// # Errors
/// The offset in the block from which on it cannot be right.
pub(super) fn block(input: &[u8], size: usize) -> Result<Vec<u8>, usize> {
    /// Shortest copy.
    const MIN_MATCH: usize = 4;
    // The size is the file's own word: memory comes with the content.
    let mut out = Vec::with_capacity(size.min(input.len().saturating_mul(4)));
    let mut at = 0;
    loop {
        let token = *input.get(at).ok_or(at)?;
        at += 1;
        let literals = length(input, &mut at, token >> 4)?;
        let run = at.checked_add(literals).and_then(|end| input.get(at..end)).ok_or(at)?;
        if out.len() + run.len() > size {
            return Err(at);
        }
        out.extend_from_slice(run);
        at += literals;
        // The last sequence has no copy.
        if at == input.len() {
            return if out.len() == size { Ok(out) } else { Err(at) };
        }
        let offset =
            input.get(at..at + 2).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]]))).ok_or(at)?;
        let from = out.len().checked_sub(offset).filter(|_| offset > 0).ok_or(at)?;
        at += 2;
        let copied = length(input, &mut at, token & 15)?.saturating_add(MIN_MATCH);
        if copied > size - out.len() {
            return Err(at);
        }
        // Source and target may overlap: what was just written is read again.
        for i in from..from + copied {
            let byte = *out.get(i).ok_or(at)?;
            out.push(byte);
        }
    }
}

/// A length of four bits, and of further bytes when they are all set.
fn length(input: &[u8], at: &mut usize, four: u8) -> Result<usize, usize> {
    let mut out = usize::from(four);
    if four < 15 {
        return Ok(out);
    }
    loop {
        let byte = *input.get(*at).ok_or(*at)?;
        *at += 1;
        out = out.saturating_add(usize::from(byte));
        if byte < 255 {
            return Ok(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn copies_may_overlap_what_they_write() {
        // `ab`, then 10 bytes from 2 before, then `c`.
        let packed = [0x26, b'a', b'b', 2, 0, 0x10, b'c'];
        assert_eq!(block(&packed, 13).unwrap(), b"ababababababc");
        assert_eq!(block(&packed, 12), Err(6));
        assert_eq!(block(&packed, 14), Err(7));
        let mut long = vec![0xf0, 255, 0];
        long.extend([b'x'; 270]);
        assert_eq!(block(&long, 270).unwrap(), [b'x'; 270]);
        assert_eq!(block(&[0x16, b'a', 2, 0], 11), Err(2));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_bounded_memory(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 0_usize..5000) {
            if let Ok(out) = block(&bytes, size) {
                prop_assert_eq!(out.len(), size);
            }
        }
    }
}
