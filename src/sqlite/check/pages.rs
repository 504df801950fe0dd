//! Every page has one owner: the list of free pages, overflow chains, the
//! pointer map, and what nothing uses.

use std::io;

use super::super::format::be32;
use super::pass::Chain;
use super::report::Report;
use super::schema::Tree;
use super::view::View;
use super::walk::{Map, MapType, Use};
use crate::finding::Remedy;

/// Tree number that stands for the list of free pages.
const FREE_LIST: usize = 0x00ff_ffff;

fn who(trees: &[Tree], tree: usize) -> String {
    if tree == FREE_LIST {
        "the list of free pages".into()
    } else {
        trees.get(tree).map_or_else(|| "a tree".into(), Tree::label)
    }
}

/// Follows the list of free pages.
pub(super) fn free_list(view: &View<'_>, map: &mut Map, report: &Report, trees: &[Tree]) -> io::Result<()> {
    let label = |t: usize| who(trees, t);
    let mut count = 0_u64;
    let mut trunk = view.header.freelist_trunk;
    let mut parent = 1;
    let mut page = vec![0; view.usable as usize];
    let mut whole = true;
    while trunk != 0 {
        if !map.claim(view, report, trunk, Use::Free, FREE_LIST, parent, &label) {
            whole = false;
            break;
        }
        map.check_ptrmap(view, report, trunk, MapType::Free, 0);
        count += 1;
        view.page(trunk, &mut page)?;
        let leaves = be32(&page, 4).unwrap_or(0);
        if leaves > view.usable / 4 - 2 {
            report
                .damage("sqlite.freelist", Remedy::Vacuum, "a list of free pages is longer than its page")
                .page(trunk)
                .at(view.offset(trunk) + 4)
                .expected(format!("at most {}", view.usable / 4 - 2), leaves.to_string());
            whole = false;
            break;
        }
        for i in 0..leaves as usize {
            let leaf = be32(&page, 8 + 4 * i).unwrap_or(0);
            count += 1;
            if map.claim(view, report, leaf, Use::Free, FREE_LIST, trunk, &label) {
                map.check_ptrmap(view, report, leaf, MapType::Free, 0);
            }
        }
        parent = trunk;
        trunk = be32(&page, 0).unwrap_or(0);
    }
    if whole && count != u64::from(view.header.freelist_count) {
        report
            .damage("sqlite.freelist", Remedy::Vacuum, "the header counts the free pages wrongly")
            .page(1)
            .at(36)
            .expected(count.to_string(), view.header.freelist_count.to_string());
    }
    Ok(())
}

/// Follows the overflow chains of all cells, by what the second pass noted.
pub(super) fn overflow(view: &View<'_>, map: &mut Map, report: &Report, trees: &[Tree], chains: &[Chain]) {
    let label = |t: usize| who(trees, t);
    for chain in chains {
        let tree = chain.tree as usize;
        let remedy = trees.get(tree).map_or(Remedy::Rebuild, Tree::remedy);
        let (mut page, mut parent) = (chain.first, chain.page);
        let mut done = 0;
        while page != 0 && done < chain.pages {
            // What a page of another use says of a next page means nothing.
            if !map.claim(view, report, page, Use::Overflow, tree, parent, &label) {
                break;
            }
            let kind = if done == 0 { MapType::FirstOverflow } else { MapType::Overflow };
            map.check_ptrmap(view, report, page, kind, parent);
            done += 1;
            parent = page;
            page = map.next(page);
        }
        let truncated = page > map.last() && page <= view.pages;
        if !truncated && (done != chain.pages || page != 0) {
            let found =
                if page == 0 { format!("{done} pages") } else { format!("page {page} after {done} pages") };
            report
                .damage(
                    "sqlite.overflow",
                    remedy,
                    format!("{}: an overflow chain has the wrong length", label(tree)),
                )
                .page(chain.page)
                .at(view.offset(chain.page))
                .expected(format!("{} pages", chain.pages), found);
        }
    }
}

/// Reports pages that nothing uses, and header fields that contradict the trees.
pub(super) fn rest(view: &View<'_>, map: &Map, report: &Report, trees: &[Tree]) {
    let mut from: Option<u32> = None;
    for page in 1..=map.last().saturating_add(1) {
        let unused = page <= map.last() && map.owner(page).0 == Use::None;
        match (from, unused) {
            (None, true) => from = Some(page),
            (Some(first), false) => {
                from = None;
                let n = page - first;
                let what = if n == 1 { "a page is".to_owned() } else { format!("{n} pages are") };
                report
                    .damage("sqlite.page-unused", Remedy::Vacuum, format!("{what} used by nothing"))
                    .page(first)
                    .at(view.offset(first))
                    .expected("an owner, or the list of free pages", "none");
            }
            _ => {}
        }
    }
    let header = &view.header;
    let max_root = trees.iter().map(|t| t.root).max().unwrap_or(1);
    if header.largest_root != 0 && header.largest_root != max_root {
        report
            .damage("sqlite.header", Remedy::Vacuum, "the header names another largest root page")
            .page(1)
            .at(52)
            .expected(max_root.to_string(), header.largest_root.to_string());
    }
    if header.largest_root == 0 && header.incremental_vacuum != 0 {
        report
            .damage("sqlite.header", Remedy::Vacuum, "incremental vacuum is on without a pointer map")
            .page(1)
            .at(64)
            .expected("0", header.incremental_vacuum.to_string());
    }
}
