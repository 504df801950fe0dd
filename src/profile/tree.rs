//! Many patterns merged into one tree of names, so that a name is looked up
//! once for all of them.

use std::collections::HashMap;

use super::pattern::{NameGlob, Seg};

/// What a pattern does to the rule that it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It names a store.
    Store,
    /// What it names is not part of the rule's stores.
    Except,
}

#[derive(Debug, Default)]
struct Node {
    /// Where each plain name leads.
    literal: HashMap<Box<str>, u32>,
    globs: Vec<(NameGlob, u32)>,
    /// The node that stands for "any number of names" from here.
    deep: Option<u32>,
    /// Whether this is such a node: it stays active below.
    stays: bool,
    /// Which rules' patterns end here, and what they do to them.
    marks: Vec<(u16, Role)>,
}

/// One tree of names.
#[derive(Debug)]
pub(super) struct Tree(Vec<Node>);

impl Default for Tree {
    fn default() -> Self {
        Self(vec![Node::default()])
    }
}

impl Tree {
    /// Adds a pattern and what it means.
    pub(super) fn add(&mut self, segs: &[Seg], mark: (u16, Role)) {
        let mut at = 0u32;
        for seg in segs {
            let fresh = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
            let Some(node) = self.0.get_mut(at as usize) else { return };
            let next = match seg {
                Seg::Deep => *node.deep.get_or_insert(fresh),
                Seg::Name(glob) => match glob.literal() {
                    Some(text) => *node.literal.entry(text.into_boxed_str()).or_insert(fresh),
                    None => {
                        if let Some((_, next)) = node.globs.iter().find(|(g, _)| g == glob) {
                            *next
                        } else {
                            node.globs.push((glob.clone(), fresh));
                            fresh
                        }
                    }
                },
            };
            if next == fresh {
                self.0.push(Node { stays: matches!(seg, Seg::Deep), ..Node::default() });
            }
            at = next;
        }
        if let Some(node) = self.0.get_mut(at as usize)
            && !node.marks.contains(&mark)
        {
            node.marks.push(mark);
        }
    }

    /// The nodes active before any name.
    pub(super) fn start(&self) -> Vec<u32> {
        let mut out = Vec::new();
        self.enter(0, &mut out);
        out
    }

    fn enter(&self, node: u32, out: &mut Vec<u32>) {
        if out.contains(&node) {
            return;
        }
        out.push(node);
        if let Some(deep) = self.0.get(node as usize).and_then(|n| n.deep) {
            self.enter(deep, out);
        }
    }

    /// Calls `f` with every node that `name` leads to from the active ones.
    fn each_next(&self, active: &[u32], name: &str, mut f: impl FnMut(u32)) {
        for node in active.iter().filter_map(|n| self.0.get(*n as usize)) {
            if let Some(next) = node.literal.get(name) {
                f(*next);
            }
            for (_, next) in node.globs.iter().filter(|(glob, _)| glob.matches(name)) {
                f(*next);
            }
        }
    }

    /// The nodes active below a folder of that name.
    pub(super) fn below(&self, active: &[u32], name: &str) -> Vec<u32> {
        let mut out: Vec<u32> = active
            .iter()
            .copied()
            .filter(|n| self.0.get(*n as usize).is_some_and(|node| node.stays))
            .collect();
        self.each_next(active, name, |next| self.enter(next, &mut out));
        // A leaf leads nowhere; without it, "nothing more below" shows early.
        out.retain(|n| {
            self.0
                .get(*n as usize)
                .is_some_and(|n| n.stays || n.deep.is_some() || !n.literal.is_empty() || !n.globs.is_empty())
        });
        out
    }

    /// Calls `f` with what every pattern means that a name in the active nodes
    /// ends.
    pub(super) fn marks(&self, active: &[u32], name: &str, mut f: impl FnMut(u16, Role)) {
        self.each_next(active, name, |next| {
            for (rule, role) in self.0.get(next as usize).map_or(&[][..], |n| n.marks.as_slice()) {
                f(*rule, *role);
            }
        });
    }

    /// Whether a name in the active nodes ends any pattern.
    pub(super) fn any(&self, active: &[u32], name: &str) -> bool {
        let mut hit = false;
        self.marks(active, name, |_, _| hit = true);
        hit
    }
}
