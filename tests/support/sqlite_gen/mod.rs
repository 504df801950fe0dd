//! Databases made from a seed, damaged from a seed, with the rows whose bytes
//! survive worked out by a page walker that shares no code with salvage.
//!
//! **The rule.** A row survives when no byte of it changed: its cell (payload
//! length, rowid, the payload on the page, the pointer to the overflow chain)
//! and each page of the chain (content and, but for the last, the pointer to
//! the next). Its page's header and cell pointers, its parents, its table's
//! root and the schema are no part of it. Damage that only moves bytes
//! (insertion, swapped pages) destroys none. With a write-ahead log or a hot
//! journal, the bytes are those of the version that counts: the last committed
//! frame, the page saved in the journal.
#![allow(dead_code, unreachable_pub, clippy::cast_lossless, clippy::too_many_arguments)]

pub mod damage;
pub mod make;
pub mod score;
pub mod walk;

/// A small generator of numbers (SplitMix64), the same on every machine.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// Once in `n` throws.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }

    /// `n` different numbers below `of`, or all of them.
    pub fn sample(&mut self, n: usize, of: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..of).collect();
        for i in 0..n.min(of) {
            let j = i + self.below(of - i);
            all.swap(i, j);
        }
        all.truncate(n);
        all
    }
}
