//! What `shopmend profile check-coverage` answers: what lies in the apps'
//! folders under no rule, so that nobody has to wonder what a scan passes over.

use std::fmt::Write as _;

use super::{Located, Root, Target, privacy};
use crate::control::{Cancelled, Control};
use crate::fsys::{Kind, RelPath, printable, shown};
use crate::model::NotChecked;
use crate::profile::{Below, Position};

/// A file, or a folder with all that is in it, that no rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncovered {
    /// Index into the target's roots.
    pub root: usize,
    /// Relative to that root.
    pub path: RelPath,
    pub is_folder: bool,
    /// Bytes of all its files.
    pub bytes: u64,
    pub files: u64,
}

/// What lies in one target's folders.
#[derive(Debug, Default)]
pub struct Coverage {
    /// The largest first.
    pub uncovered: Vec<Uncovered>,
    /// Bytes and files under rules.
    pub covered_bytes: u64,
    pub covered_files: u64,
    pub not_checked: Vec<NotChecked>,
}

/// Looks through the folders of a target for what no rule is about.
///
/// # Errors
/// Only [`Cancelled`]: what cannot be read is part of the outcome.
pub fn uncovered(target: &Target, control: &Control) -> Result<Coverage, Cancelled> {
    let mut out = Coverage::default();
    for (index, root) in target.roots.iter().enumerate() {
        look(index, root, &mut out, control)?;
    }
    out.uncovered.sort_by(|a, b| (b.bytes, a.root, &a.path).cmp(&(a.bytes, b.root, &b.path)));
    Ok(out)
}

/// A folder that the walk is in: its rules, and the entry of the outcome that
/// all of it belongs to when no rule is about any of it.
struct Level<'a> {
    rules: Position<'a>,
    within: Option<usize>,
}

fn look(index: usize, root: &Root, out: &mut Coverage, control: &Control) -> Result<(), Cancelled> {
    let unread = |path: &RelPath, e: &std::io::Error, out: &mut Coverage| {
        let full = root.path.join(path.as_path());
        let why = format!("it could not be read: {}", privacy::reason(&full, e));
        let not = NotChecked::new(shown(&full), why);
        out.not_checked.push(NotChecked { how_to_see: super::how_to_read(e), ..not });
    };
    let dir = match root.open() {
        Ok(dir) => dir,
        Err(e) => {
            unread(&RelPath::root(), &e, out);
            return Ok(());
        }
    };
    let mut above = vec![Level { rules: root.rules.top(), within: None }];
    for (nth, step) in dir.walk(|_| true).enumerate() {
        if nth % 1024 == 0 {
            control.safe_point()?;
        }
        let found = match step {
            Ok(found) => found,
            Err(e) => {
                above.truncate(e.path.depth().max(1));
                unread(&e.path, &e.source, out);
                continue;
            }
        };
        let depth = found.path.depth();
        above.truncate(depth);
        let Some(holder) = above.last().filter(|h| h.rules.depth() + 1 == depth) else { continue };
        let bytes = if found.meta.kind == Kind::File { found.meta.size } else { 0 };
        match found.meta.kind {
            Kind::Dir => {
                let rules = holder.rules.folder(&found.name);
                let nothing = rules.here().is_none() && rules.below() == Below::Nothing;
                let within = holder.within.or_else(|| {
                    nothing.then(|| {
                        let path = found.path.clone();
                        out.uncovered.push(Uncovered {
                            root: index,
                            path,
                            is_folder: true,
                            bytes: 0,
                            files: 0,
                        });
                        out.uncovered.len() - 1
                    })
                });
                above.push(Level { rules, within });
            }
            Kind::File => match holder.within.and_then(|at| out.uncovered.get_mut(at)) {
                Some(of) => {
                    of.bytes = of.bytes.saturating_add(bytes);
                    of.files += 1;
                }
                None if holder.rules.file(&found.name).is_some() => {
                    out.covered_bytes = out.covered_bytes.saturating_add(bytes);
                    out.covered_files += 1;
                }
                None => {
                    let path = found.path;
                    out.uncovered.push(Uncovered { root: index, path, is_folder: false, bytes, files: 1 });
                }
            },
            Kind::Link | Kind::Other => {}
        }
    }
    Ok(())
}

fn size(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string()
}

fn files(n: u64) -> String {
    if n == 1 { "1 file".to_owned() } else { format!("{n} files") }
}

/// Most lines of one target.
const MAX_LINES: usize = 50;

/// All of it as text; and what was not looked at.
///
/// # Errors
/// Only [`Cancelled`].
pub fn uncovered_text(located: &Located, control: &Control) -> Result<(String, Vec<NotChecked>), Cancelled> {
    let mut out = String::new();
    let mut not_checked = located.not_checked.clone();
    for target in &located.targets {
        let found = uncovered(target, control)?;
        let (bytes, number) =
            found.uncovered.iter().fold((0u64, 0u64), |(b, f), u| (b.saturating_add(u.bytes), f + u.files));
        let user = target.user.as_deref().map(|u| format!(", user {}", printable(u))).unwrap_or_default();
        let _ = writeln!(out, "{}{user}", target.app.name);
        for root in &target.roots {
            let _ = writeln!(out, "  {}: {}", printable(&root.id), shown(&root.path));
        }
        for one in found.uncovered.iter().take(MAX_LINES) {
            let id = target.roots.get(one.root).map_or("", |r| r.id.as_str());
            let end = if one.is_folder { "/" } else { "" };
            let what = format!("{}:{}{end}", printable(id), one.path);
            let _ = writeln!(out, "  {:>10}  {:<12} {what}", size(one.bytes), files(one.files));
        }
        let more = found.uncovered.len().saturating_sub(MAX_LINES);
        if more > 0 {
            let _ = writeln!(out, "  and {more} smaller");
        }
        let _ = writeln!(
            out,
            "  under no rule: {} ({}); under rules: {} ({})\n",
            size(bytes),
            files(number),
            size(found.covered_bytes),
            files(found.covered_files)
        );
        not_checked.extend(found.not_checked);
    }
    if located.targets.is_empty() {
        out.push_str("No known app was found.\n");
    }
    for not in &not_checked {
        crate::lines::wrap(&mut out, "Not checked: ", &printable(&not.to_string()));
    }
    Ok((out, not_checked))
}
