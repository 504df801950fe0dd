//! Whether cells, free blocks and fragments cover the content area of a page
//! exactly once.

use super::super::format::be16;

/// A bit for each byte of the page.
#[derive(Default)]
pub(super) struct Cover {
    bits: Vec<u64>,
    usable: usize,
    top: usize,
    covered: usize,
    overlap: bool,
}

impl Cover {
    /// Begins a page whose content area goes from `top` to `usable`.
    #[inline]
    pub(super) fn begin(&mut self, usable: usize, top: usize) {
        self.bits.clear();
        self.bits.resize(usable / 64 + 1, 0);
        self.usable = usable;
        self.top = top;
        self.covered = 0;
        self.overlap = false;
    }

    /// Takes the bytes from `at` on for a cell or free block.
    #[inline]
    pub(super) fn mark(&mut self, at: usize, len: usize) {
        self.covered += len;
        let (mut bit, mut word, mut left) = (at % 64, at / 64, len);
        while left > 0 {
            let n = left.min(64 - bit);
            let ones = if n == 64 { u64::MAX } else { ((1 << n) - 1) << bit };
            let Some(slot) = self.bits.get_mut(word) else {
                self.overlap = true;
                return;
            };
            self.overlap |= *slot & ones != 0;
            *slot |= ones;
            left -= n;
            word += 1;
            bit = 0;
        }
    }

    /// Adds the free blocks and compares the rest with the fragments that the
    /// header at `head` counts.
    pub(super) fn finish(&mut self, page: &[u8], head: usize) -> Result<(), &'static str> {
        let mut at = be16(page, head + 1).map_or(0, usize::from);
        if at != 0 && at < self.top {
            return Err("the first free block lies outside the content area");
        }
        while at != 0 {
            let (Some(next), Some(size)) = (be16(page, at), be16(page, at + 2)) else {
                return Err("a free block runs over the end of the page");
            };
            let (next, size) = (usize::from(next), usize::from(size));
            if size < 4 || at + size > self.usable {
                return Err("a free block has an impossible size");
            }
            if next != 0 && next <= at + size + 3 {
                return Err("free blocks are not in order");
            }
            self.mark(at, size);
            at = next;
        }
        if self.overlap {
            return Err("cells or free blocks overlap");
        }
        let fragments = page.get(head + 7).map_or(0, |b| usize::from(*b));
        if self.usable - self.top != self.covered + fragments {
            return Err("cells, free blocks and fragments do not add up to the page");
        }
        Ok(())
    }
}
