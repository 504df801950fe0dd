//! What a person wants kept out of every plan: `--keep` and the configuration.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::error::{Error, Kind, Result};

/// Patterns of paths that nothing may be done to.
#[derive(Debug, Clone, Default)]
pub struct Keep {
    patterns: Vec<String>,
    set: GlobSet,
    /// The same, whatever the case.
    folded: GlobSet,
    /// Which pattern each glob is of.
    of: Vec<usize>,
    /// Whether each pattern kept something, or names something that is there.
    used: Arc<[AtomicBool]>,
}

impl Keep {
    /// Compiles patterns as people write them: `*`, `?`, `**` and `{a,b}` as in
    /// profiles, everything else as it is, brackets too.
    ///
    /// One that does not begin at the top matches at any depth, with or
    /// without folders in it; `~/` is the home folder, `./` and `../` go from
    /// the folder at hand, a `/` at the end adds nothing. What is covered is
    /// covered with everything in it. A path that is there is that path,
    /// whatever characters are in it, and also where its links lead.
    ///
    /// # Errors
    /// When a pattern is empty or a brace in it is not closed.
    pub fn new(patterns: impl IntoIterator<Item = String>) -> Result<Self> {
        let home = std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE")).map(PathBuf::from);
        let here = std::env::current_dir().ok();
        Self::from(patterns, home.as_deref(), here.as_deref())
    }

    fn from(
        patterns: impl IntoIterator<Item = String>,
        home: Option<&Path>,
        here: Option<&Path>,
    ) -> Result<Self> {
        let (mut set, mut folded) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        let (mut kept, mut of, mut used) = (Vec::new(), Vec::new(), Vec::new());
        for pattern in patterns {
            if pattern.trim().is_empty() {
                return Err(Error::new(Kind::Usage, "a keep pattern is empty")
                    .hint("give a glob such as '*/Cache/*'"));
            }
            let (globs, there) = readings(&pattern, home, here);
            for glob in globs.into_iter().flat_map(|glob| [format!("{glob}/**"), glob]) {
                for (fold, set) in [(false, &mut set), (true, &mut folded)] {
                    let glob = GlobBuilder::new(&glob)
                        .literal_separator(true)
                        .backslash_escape(false)
                        .case_insensitive(fold)
                        .build();
                    set.add(glob.map_err(|e| {
                        Error::new(Kind::Usage, format!("the keep pattern {pattern:?} is not a valid glob"))
                            .because(e)
                    })?);
                }
                of.push(kept.len());
            }
            used.push(AtomicBool::new(there));
            kept.push(pattern);
        }
        let built = |set: &GlobSetBuilder| {
            set.build().map_err(|e| Error::new(Kind::Usage, "the keep patterns are too large").because(e))
        };
        Ok(Self { patterns: kept, set: built(&set)?, folded: built(&folded)?, of, used: used.into() })
    }

    /// The pattern that covers `path`, by absolute path or path below the root;
    /// with `fold` where names that differ only in case are the same.
    #[must_use]
    pub fn covers(&self, root: &Path, path: &crate::fsys::RelPath, fold: bool) -> Option<&str> {
        if self.patterns.is_empty() {
            return None;
        }
        let absolute = root.join(path.as_path());
        let set = if fold { &self.folded } else { &self.set };
        let mut hits = set.matches(&absolute);
        hits.extend(set.matches(path.as_path()));
        let mut hits: Vec<usize> = hits.iter().filter_map(|hit| self.of.get(*hit).copied()).collect();
        hits.sort_unstable();
        for hit in &hits {
            if let Some(used) = self.used.get(*hit) {
                used.store(true, Ordering::Relaxed);
            }
        }
        hits.first().and_then(|i| self.patterns.get(*i)).map(String::as_str)
    }

    /// The patterns that have covered nothing since, and name nothing that is
    /// there: likely slips.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        let used = self.patterns.iter().zip(self.used.iter());
        used.filter(|(_, used)| !used.load(Ordering::Relaxed)).map(|(pattern, _)| pattern.as_str())
    }
}

/// The globs that a pattern stands for, and whether it names something there.
fn readings(pattern: &str, home: Option<&Path>, here: Option<&Path>) -> (Vec<String>, bool) {
    // One separator only: where `\` is one, people write it.
    let text = if cfg!(windows) { pattern.replace('\\', "/") } else { pattern.to_owned() };
    let trimmed = text.trim_end_matches('/');
    if trimmed.is_empty() {
        return (vec!["/**".to_owned()], true);
    }
    let below_home = (trimmed == "~").then_some("").or_else(|| trimmed.strip_prefix("~/"));
    let from_here = [".", ".."].contains(&trimmed) || trimmed.starts_with("./") || trimmed.starts_with("../");
    let full: Option<PathBuf> = match below_home {
        Some(below) => home.map(|home| home.join(below)),
        None if Path::new(trimmed).is_absolute() => Some(PathBuf::from(trimmed)),
        None => here.map(|here| here.join(trimmed)),
    };
    let full = full.map(|path| plain(&path));
    let anchored = below_home.is_some() || from_here || Path::new(trimmed).is_absolute();
    let mut globs = Vec::new();
    let mut there = false;
    if let Some(full) = full.as_deref() {
        if full.symlink_metadata().is_ok() {
            there = true;
            globs.push(escaped(&slashed(full), true));
            globs.extend(crate::fsys::real_path(full).ok().map(|real| escaped(&slashed(&real), true)));
        }
        if anchored {
            globs.push(escaped(&slashed(full), false));
            // The part without wildcards may lead through a link.
            let fixed = full.ancestors().find(|p| !has_wildcard(&slashed(p)) && p.exists());
            if let Some((fixed, real)) = fixed.and_then(|p| Some((p, crate::fsys::real_path(p).ok()?)))
                && let Ok(rest) = full.strip_prefix(fixed)
                && !rest.as_os_str().is_empty()
            {
                let real = escaped(&slashed(&real), true);
                globs.push(format!("{}/{}", real.trim_end_matches('/'), escaped(&slashed(rest), false)));
            }
        }
    }
    if !anchored || globs.is_empty() {
        let inner = escaped(trimmed, false);
        if !inner.starts_with("**/") {
            globs.push(format!("**/{inner}"));
        }
        globs.push(inner);
    }
    globs.sort();
    globs.dedup();
    (globs, there)
}

/// Without `.` and `..`, which no path of a file has.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(out.pop()),
            other => out.push(other),
        }
    }
    out
}

fn slashed(path: &Path) -> String {
    let text = path.to_string_lossy().into_owned();
    if cfg!(windows) { text.replace('\\', "/") } else { text }
}

fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '{', '}'])
}

/// A glob for the text in which brackets stand for themselves, and with `all`
/// everything else too.
fn escaped(text: &str, all: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '[' | ']' => out.extend(['[', c, ']']),
            '*' | '?' | '{' | '}' if all => out.extend(['[', c, ']']),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsys::RelPath;

    fn covers(keep: &Keep, root: &str, rel: &str) -> bool {
        keep.covers(Path::new(root), &RelPath::new(rel).unwrap(), false).is_some()
    }

    #[test]
    fn names_paths_and_folders_are_kept() {
        let keep =
            Keep::new(["*.png".into(), "/home/ann/.cache/x/**".into(), "Default/Cache".into()]).unwrap();
        assert!(covers(&keep, "/r", "a/b/c.png"));
        assert!(covers(&keep, "/home/ann/.cache/x", "f"));
        assert!(covers(&keep, "/r", "Default/Cache/Cache_Data/f"));
        assert!(covers(&keep, "/r", "Profile/Default/Cache/f"));
        assert!(!covers(&keep, "/r", "Other/Cache/f"));
        let fold = |rel: &str| keep.covers(Path::new("/r"), &RelPath::new(rel).unwrap(), true).is_some();
        assert!(fold("A/B.PNG") && fold("default/CACHE/x") && !covers(&keep, "/r", "A/B.PNG"));
        assert!(Keep::new(["{a".into()]).is_err());
        assert!(Keep::new([" ".into()]).is_err());
    }

    #[test]
    fn patterns_are_taken_as_people_write_them() {
        let one = |pattern: &str| {
            Keep::from([pattern.to_owned()], Some(Path::new("/home/ann")), Some(Path::new("/work/here")))
                .unwrap()
        };
        for (pattern, root, rel) in [
            ("Keep Me/", "/r", "cache/Keep Me/sub/b.mp4"),
            ("Keep Me", "/r", "Keep Me"),
            ("~/x", "/home/ann", "x/deep/f"),
            ("~/x/", "/home/ann/x", "f"),
            ("./x", "/work/here", "x/f"),
            ("../other/x", "/work", "other/x"),
            ("*/f0", "/r", "cache/0/f0"),
            ("cache/*/f0", "/r", "a/cache/1/f0"),
            ("v[1]/c", "/r", "cache/v[1]/c"),
            ("/r/cache/v[1]/**", "/r", "cache/v[1]/deep/c"),
            ("{a,b}.png", "/r", "x/b.png"),
            ("**/Keep Me/**", "/r", "cache/Keep Me/f"),
        ] {
            assert!(covers(&one(pattern), root, rel), "{pattern} {rel}");
        }
        for (pattern, root, rel) in
            [("~/x", "/home/bob", "x"), ("./x", "/r", "x"), ("v[1]", "/r", "v1"), ("/x", "/r", "x")]
        {
            assert!(!covers(&one(pattern), root, rel), "{pattern} {rel}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_path_that_is_there_is_itself_and_where_its_links_lead() {
        let tmp = tempfile::tempdir().unwrap();
        let top = tmp.path().canonicalize().unwrap();
        std::fs::create_dir_all(top.join("real/a*{b}")).unwrap();
        std::os::unix::fs::symlink("real", top.join("way")).unwrap();
        let home = Some(top.as_path());
        let root = top.join("real");
        let root = root.to_str().unwrap();
        let keep = Keep::from(["~/way/a*{b}".into()], home, None).unwrap();
        assert!(covers(&keep, root, "a*{b}/f"));
        let keep = Keep::from(["~/way/*/f".into()], home, None).unwrap();
        assert!(covers(&keep, root, "any/f") && !covers(&keep, root, "any/g"));
    }

    #[test]
    fn a_pattern_that_kept_nothing_is_told() {
        let keep = Keep::new(["*.png".into(), "no-such-name".into()]).unwrap();
        assert_eq!(keep.unused().count(), 2);
        assert!(covers(&keep, "/r", "a.png"));
        assert_eq!(keep.clone().unused().collect::<Vec<_>>(), ["no-such-name"]);
    }
}
