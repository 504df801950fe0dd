//! The first pass: from every root through the interior pages only, giving
//! each page of a tree to its owner and each leaf its place in the order.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::format::{PageType, be16, be32, varint};
use super::CheckError;
use super::report::Report;
use super::schema::Tree;
use super::view::View;
use crate::control::Control;
use crate::finding::Remedy;

/// Deepest tree that SQLite can follow.
const MAX_DEPTH: u32 = 20;
/// Interior pages of indexes that are kept for comparing keys across pages.
const KEPT_INTERIOR: usize = 16 << 20;

/// What a page is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Use {
    None = 0,
    Leaf,
    Interior,
    Overflow,
    Free,
    Map,
    Lock,
}

/// Who owns each page, and in which order the leaves stand.
pub(super) struct Map {
    /// Use in the high byte, tree number below.
    owner: Vec<u32>,
    /// For a leaf its place in the order; for other pages the second pass
    /// notes the first four bytes: the next page of a chain.
    aux: Vec<AtomicU32>,
    /// What separates each leaf from the next: a rowid (as bits), or page and
    /// cell number of the interior cell of an index.
    separators: Vec<u64>,
    /// First and one past the last leaf of each tree.
    leaves: Vec<(u32, u32)>,
    interiors: HashMap<u32, Box<[u8]>>,
    kept: usize,
    /// Type and parent of each page as the pointer map has it, from page 1.
    ptrmap: Vec<[u8; 5]>,
}

/// The end of a tree: no separator follows.
pub(super) const NO_SEPARATOR: u64 = u64::MAX;

/// Pointer-map types (fileformat2, "Pointer Map or Ptrmap Pages").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MapType {
    Root = 1,
    Free = 2,
    FirstOverflow = 3,
    Overflow = 4,
    Tree = 5,
}

impl Map {
    pub(super) fn new(view: &View<'_>) -> io::Result<Self> {
        let pages = view.pages.min(view.present) as usize;
        let mut map = Self {
            owner: vec![0; pages + 1],
            aux: (0..=pages).map(|_| AtomicU32::new(0)).collect(),
            separators: Vec::new(),
            leaves: Vec::new(),
            interiors: HashMap::new(),
            kept: 0,
            ptrmap: Vec::new(),
        };
        if view.lock_page() as usize <= pages {
            map.set(view.lock_page(), Use::Lock, 0);
        }
        if view.has_ptrmap() {
            map.load_ptrmap(view)?;
        }
        Ok(map)
    }

    fn load_ptrmap(&mut self, view: &View<'_>) -> io::Result<()> {
        let last = self.last();
        self.ptrmap = vec![[0; 5]; last as usize + 1];
        let mut buf = vec![0; view.usable as usize];
        let mut loaded = 0;
        for page in 2..=last {
            let map_page = view.ptrmap_page_of(page);
            if map_page != loaded {
                view.page(map_page, &mut buf)?;
                loaded = map_page;
                if map_page <= last {
                    self.set(map_page, Use::Map, 0);
                }
            }
            let at = (page.saturating_sub(map_page + 1)) as usize * 5;
            if page > map_page
                && let (Some(to), Some(from)) = (self.ptrmap.get_mut(page as usize), buf.get(at..at + 5))
            {
                to.copy_from_slice(from);
            }
        }
        Ok(())
    }

    /// The last page that can be looked at.
    pub(super) fn last(&self) -> u32 {
        u32::try_from(self.owner.len()).unwrap_or(u32::MAX).saturating_sub(1)
    }

    /// What a page is for, and the tree it belongs to.
    #[inline]
    pub(super) fn owner(&self, page: u32) -> (Use, usize) {
        let word = self.owner.get(page as usize).copied().unwrap_or(0);
        let kind = match word >> 24 {
            1 => Use::Leaf,
            2 => Use::Interior,
            3 => Use::Overflow,
            4 => Use::Free,
            5 => Use::Map,
            6 => Use::Lock,
            _ => Use::None,
        };
        (kind, (word & 0x00ff_ffff) as usize)
    }

    fn set(&mut self, page: u32, kind: Use, tree: usize) {
        if let Some(word) = self.owner.get_mut(page as usize) {
            *word = ((kind as u32) << 24) | (tree as u32 & 0x00ff_ffff);
        }
    }

    /// Place of a leaf in the order of all leaves.
    #[inline]
    pub(super) fn place(&self, page: u32) -> u32 {
        self.aux.get(page as usize).map_or(0, |a| a.load(Ordering::Relaxed))
    }

    /// Notes the first four bytes of a page outside the trees.
    #[inline]
    pub(super) fn note_next(&self, page: u32, next: u32) {
        if let Some(a) = self.aux.get(page as usize) {
            a.store(next, Ordering::Relaxed);
        }
    }

    /// The first four bytes that [`Map::note_next`] noted.
    pub(super) fn next(&self, page: u32) -> u32 {
        self.place(page)
    }

    /// What stands before and after the leaf at `place` of `tree`.
    #[inline]
    pub(super) fn bounds(&self, tree: usize, place: u32) -> (u64, u64) {
        let (start, _) = self.leaves.get(tree).copied().unwrap_or((0, 0));
        let get = |p: u32| self.separators.get(p as usize).copied().unwrap_or(NO_SEPARATOR);
        (if place > start { get(place - 1) } else { NO_SEPARATOR }, get(place))
    }

    /// How many leaves a tree has.
    pub(super) fn leaf_count(&self, tree: usize) -> u32 {
        self.leaves.get(tree).map_or(0, |(a, b)| b - a)
    }

    /// An interior page of an index, when it was kept.
    pub(super) fn interior(&self, page: u32) -> Option<&[u8]> {
        self.interiors.get(&page).map(AsRef::as_ref)
    }

    /// Gives a page to an owner. `false`, with a finding, when it has one
    /// already or does not exist; `parent` names who points at it.
    pub(super) fn claim(
        &mut self,
        view: &View<'_>,
        report: &Report,
        page: u32,
        kind: Use,
        tree: usize,
        parent: u32,
        who: &dyn Fn(usize) -> String,
    ) -> bool {
        let remedy = if kind == Use::Free { Remedy::Vacuum } else { Remedy::Rebuild };
        if page == 0 || page > view.pages {
            report
                .damage(
                    "sqlite.page-number",
                    remedy,
                    format!("{} points at a page that cannot be", who(tree)),
                )
                .page(parent)
                .at(view.offset(parent))
                .expected(format!("a page from 1 to {}", view.pages), page.to_string());
            return false;
        }
        if page > self.last() {
            // Beyond the end of a truncated file, which is a finding of its own.
            return false;
        }
        let (used, owner) = self.owner(page);
        if used != Use::None {
            let other = match used {
                Use::Free => "the list of free pages".to_owned(),
                Use::Map => "the pointer map".to_owned(),
                Use::Lock => "the lock bytes".to_owned(),
                _ => who(owner),
            };
            report
                .damage("sqlite.page-shared", Remedy::Rebuild, "a page is used twice")
                .page(page)
                .at(view.offset(page))
                .expected("one owner", format!("{other} and {} (from page {parent})", who(tree)));
            return false;
        }
        self.set(page, kind, tree);
        true
    }

    /// Compares the pointer map's entry of a page, where there is a map.
    pub(super) fn check_ptrmap(
        &self,
        view: &View<'_>,
        report: &Report,
        page: u32,
        kind: MapType,
        parent: u32,
    ) {
        let Some(&[found_kind, ref rest @ ..]) = self.ptrmap.get(page as usize) else { return };
        let found = u32::from_be_bytes(*rest);
        if found_kind != kind as u8 || found != parent {
            report
                .damage("sqlite.pointer-map", Remedy::Vacuum, "the pointer map has a wrong entry for a page")
                .page(page)
                .at(view.offset(view.ptrmap_page_of(page)))
                .expected(
                    format!("type {} parent {parent}", kind as u8),
                    format!("type {found_kind} parent {found}"),
                );
        }
    }

    /// Walks one tree. Trees are walked in the order of their numbers.
    pub(super) fn walk(
        &mut self,
        view: &View<'_>,
        report: &Report,
        trees: &[Tree],
        tree: usize,
        control: &Control,
    ) -> Result<(), CheckError> {
        let start = self.separators.len() as u32;
        let who = |t: usize| trees.get(t).map_or_else(|| "a tree".to_owned(), Tree::label);
        let Some(root) = trees.get(tree).map(|t| t.root) else { return Ok(()) };
        let mut walker =
            Walker { map: self, view, report, tree, who: &who, page: vec![0; view.page_size as usize] };
        let depth = walker.depth(root, &mut 256, 0)?.unwrap_or(0);
        if walker.take(root, 0, depth) {
            self.check_ptrmap_root(view, report, root);
            self.descend(view, report, tree, root, depth, &who, control)?;
        }
        self.leaves.push((start, self.separators.len() as u32));
        Ok(())
    }

    fn check_ptrmap_root(&self, view: &View<'_>, report: &Report, root: u32) {
        if root > 1 {
            self.check_ptrmap(view, report, root, MapType::Root, 0);
        }
    }

    fn descend(
        &mut self,
        view: &View<'_>,
        report: &Report,
        tree: usize,
        root: u32,
        depth: u32,
        who: &dyn Fn(usize) -> String,
        control: &Control,
    ) -> Result<(), CheckError> {
        if depth == 0 {
            self.add_leaf(root);
            return Ok(());
        }
        let start = self.separators.len();
        let mut stack = vec![Node::read(view, root, depth)?];
        while let Some(node) = stack.last_mut() {
            control.safe_point()?;
            let Some((child, separator)) = node.next() else {
                if let Some(done) = stack.pop()
                    && !done.kind.is_some_and(PageType::is_table)
                    && self.kept < KEPT_INTERIOR
                {
                    self.kept += done.bytes.len();
                    self.interiors.insert(done.page, done.bytes);
                }
                self.close_subtree(start, stack.last());
                continue;
            };
            let (page, height) = (node.page, node.height - 1);
            let kind = if height == 0 { Use::Leaf } else { Use::Interior };
            // The separator is known now, but belongs after the child's leaves.
            node.pending = separator;
            let Some(child) = child else { continue };
            if !self.claim(view, report, child, kind, tree, page, who) {
                continue;
            }
            self.check_ptrmap(view, report, child, MapType::Tree, page);
            if height == 0 {
                self.add_leaf(child);
                self.close_subtree(start, stack.last());
            } else {
                stack.push(Node::read(view, child, height)?);
            }
        }
        if self.separators.len() > start
            && let Some(last) = self.separators.last_mut()
        {
            *last = NO_SEPARATOR;
        }
        Ok(())
    }

    fn add_leaf(&mut self, page: u32) {
        let place = self.separators.len() as u32;
        self.note_next(page, place);
        self.separators.push(NO_SEPARATOR);
    }

    /// Sets what follows the last leaf so far: the separator after the child just finished.
    fn close_subtree(&mut self, start: usize, parent: Option<&Node>) {
        if self.separators.len() > start
            && let Some(node) = parent
            && node.pending != NO_SEPARATOR
            && let Some(last) = self.separators.last_mut()
        {
            *last = node.pending;
        }
    }
}

struct Walker<'m, 'v> {
    map: &'m mut Map,
    view: &'m View<'v>,
    report: &'m Report,
    tree: usize,
    who: &'m dyn Fn(usize) -> String,
    page: Vec<u8>,
}

impl Walker<'_, '_> {
    fn take(&mut self, root: u32, parent: u32, depth: u32) -> bool {
        let kind = if depth == 0 { Use::Leaf } else { Use::Interior };
        self.map.claim(self.view, self.report, root, kind, self.tree, parent, self.who)
    }

    /// Height of the tree above its leaves, by the first path that reaches one.
    fn depth(&mut self, page: u32, tries: &mut u32, level: u32) -> io::Result<Option<u32>> {
        if page == 0 || page > self.map.last() || level > MAX_DEPTH || *tries == 0 {
            return Ok(None);
        }
        *tries -= 1;
        self.view.page(page, &mut self.page)?;
        let head = header_at(page);
        match self.page.get(head).copied().and_then(PageType::from_byte) {
            None => Ok(None),
            Some(kind) if kind.is_leaf() => Ok(Some(0)),
            Some(_) => {
                let node = Node::parse(page, 1, self.page.clone().into_boxed_slice(), self.view);
                for child in node.children().take(16).collect::<Vec<_>>() {
                    if let Some(depth) = self.depth(child, tries, level + 1)? {
                        return Ok(Some(depth + 1));
                    }
                }
                Ok(None)
            }
        }
    }
}

/// Where the b-tree header begins on a page.
pub(super) fn header_at(page: u32) -> usize {
    if page == 1 { 100 } else { 0 }
}

/// An interior page on the way down.
struct Node {
    page: u32,
    /// Levels above the leaves.
    height: u32,
    bytes: Box<[u8]>,
    kind: Option<PageType>,
    cells: usize,
    at: usize,
    pending: u64,
    usable: usize,
}

impl Node {
    fn read(view: &View<'_>, page: u32, height: u32) -> io::Result<Self> {
        let mut bytes = vec![0; view.page_size as usize].into_boxed_slice();
        view.page(page, &mut bytes)?;
        Ok(Self::parse(page, height, bytes, view))
    }

    fn parse(page: u32, height: u32, bytes: Box<[u8]>, view: &View<'_>) -> Self {
        let head = header_at(page);
        let kind = bytes.get(head).copied().and_then(PageType::from_byte).filter(|k| !k.is_leaf());
        let usable = view.usable as usize;
        let cells = be16(&bytes, head + 3).map_or(0, usize::from).min((usable - 12 - head) / 2);
        Self { page, height, bytes, kind, cells, at: 0, pending: NO_SEPARATOR, usable }
    }

    fn child(&self, i: usize) -> Option<u32> {
        let head = header_at(self.page);
        if i == self.cells {
            return be32(&self.bytes, head + 8);
        }
        be32(&self.bytes, self.cell(i)?)
    }

    fn cell(&self, i: usize) -> Option<usize> {
        let at = usize::from(be16(&self.bytes, header_at(self.page) + 12 + 2 * i)?);
        (at + 4 <= self.usable).then_some(at)
    }

    fn children(&self) -> impl Iterator<Item = u32> + '_ {
        (0..=self.cells).filter_map(|i| self.child(i))
    }

    /// The next child, and what separates it from the one after.
    fn next(&mut self) -> Option<(Option<u32>, u64)> {
        let i = self.at;
        if i > self.cells || self.kind.is_none() {
            return None;
        }
        self.at += 1;
        if i == self.cells {
            return Some((self.child(i), NO_SEPARATOR));
        }
        let separator = if self.kind == Some(PageType::TableInterior) {
            let key = self.cell(i).and_then(|at| varint(self.bytes.get(at + 4..)?));
            key.map_or(NO_SEPARATOR, |(k, _)| k)
        } else {
            (u64::from(self.page) << 16) | i as u64
        };
        Some((self.child(i), separator))
    }
}
