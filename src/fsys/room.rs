//! What files take up on the disk: blocks, not lengths. A hole takes up
//! nothing, and a file with several names is there once.

use std::collections::HashMap;

use super::Meta;

/// What one file takes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub dev: u64,
    pub ino: u64,
    /// Its names (hard links), this one included.
    pub links: u64,
    /// Bytes that are allocated for it.
    pub allocated: u64,
}

impl From<&Meta> for Room {
    fn from(meta: &Meta) -> Self {
        Self { dev: meta.dev, ino: meta.ino, links: meta.links, allocated: meta.allocated }
    }
}

/// Adds up what files take up.
#[derive(Debug, Default)]
pub struct RoomCount {
    allocated: u64,
    freed: u64,
    /// Files with several names, and how many of them were met.
    names: HashMap<(u64, u64), u64>,
}

impl RoomCount {
    /// One more name of a file.
    pub fn add(&mut self, file: Room) {
        if file.links <= 1 {
            self.allocated = self.allocated.saturating_add(file.allocated);
            self.freed = self.freed.saturating_add(file.allocated);
            return;
        }
        let met = self.names.entry((file.dev, file.ino)).or_default();
        *met += 1;
        if *met == 1 {
            self.allocated = self.allocated.saturating_add(file.allocated);
        }
        if *met == file.links {
            self.freed = self.freed.saturating_add(file.allocated);
        }
    }

    /// What the files take up, each counted once.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        self.allocated
    }

    /// What is free when all the names that were added are gone: a file that
    /// has another name elsewhere stays.
    #[must_use]
    pub fn freed(&self) -> u64 {
        self.freed
    }
}

impl Extend<Room> for RoomCount {
    fn extend<I: IntoIterator<Item = Room>>(&mut self, files: I) {
        files.into_iter().for_each(|file| self.add(file));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_several_names_takes_up_its_room_once_and_frees_it_with_the_last() {
        let file = |ino, links| Room { dev: 1, ino, links, allocated: 4096 };
        let mut count = RoomCount::default();
        count.extend([file(1, 1), file(2, 2), file(2, 2), file(3, 2)]);
        assert_eq!((count.allocated(), count.freed()), (3 * 4096, 2 * 4096));
        count.add(Room { dev: 2, ..file(3, 2) });
        assert_eq!((count.allocated(), count.freed()), (4 * 4096, 2 * 4096));
    }
}
