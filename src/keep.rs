//! What a person wants kept out of every plan: `--keep` and the configuration.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::error::{Error, Kind, Result};

/// Patterns of paths that nothing may be done to.
#[derive(Debug, Clone, Default)]
pub struct Keep {
    patterns: Vec<String>,
    set: GlobSet,
    /// The same, whatever the case.
    folded: GlobSet,
}

impl Keep {
    /// Compiles patterns. One without a `/` matches a name at any depth, as in
    /// `.gitignore`; `**` matches any depth.
    ///
    /// # Errors
    /// When a pattern is empty or no glob.
    pub fn new(patterns: impl IntoIterator<Item = String>) -> Result<Self> {
        let (mut set, mut folded) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        let mut kept = Vec::new();
        for pattern in patterns {
            let full = if pattern.contains('/') || pattern.contains('\\') {
                pattern.clone()
            } else {
                format!("**/{pattern}")
            };
            if pattern.trim().is_empty() {
                return Err(Error::new(Kind::Usage, "a keep pattern is empty")
                    .hint("give a glob such as '*/Cache/*'"));
            }
            for glob in [full.clone(), format!("{}/**", full.trim_end_matches('/'))] {
                for (fold, set) in [(false, &mut set), (true, &mut folded)] {
                    let glob = GlobBuilder::new(&glob).literal_separator(true).case_insensitive(fold).build();
                    set.add(glob.map_err(|e| {
                        Error::new(Kind::Usage, format!("the keep pattern {pattern:?} is no glob")).because(e)
                    })?);
                }
            }
            kept.push(pattern);
        }
        let built = |set: &GlobSetBuilder| {
            set.build().map_err(|e| Error::new(Kind::Usage, "the keep patterns are too large").because(e))
        };
        Ok(Self { patterns: kept, set: built(&set)?, folded: built(&folded)? })
    }

    /// The pattern that covers `path`, by absolute path or path below the root;
    /// with `fold` where names that differ only in case are the same.
    #[must_use]
    pub fn covers(&self, root: &std::path::Path, path: &crate::fsys::RelPath, fold: bool) -> Option<&str> {
        if self.patterns.is_empty() {
            return None;
        }
        let absolute = root.join(path.as_path());
        let set = if fold { &self.folded } else { &self.set };
        let mut hits = set.matches(&absolute);
        hits.extend(set.matches(path.as_path()));
        hits.first().and_then(|i| self.patterns.get(i / 2)).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsys::RelPath;
    use std::path::Path;

    #[test]
    fn names_paths_and_folders_are_kept() {
        let keep =
            Keep::new(["*.png".into(), "/home/ann/.cache/x/**".into(), "Default/Cache".into()]).unwrap();
        let covers = |root: &str, rel: &str| {
            keep.covers(Path::new(root), &RelPath::new(rel).unwrap(), false).is_some()
        };
        assert!(covers("/r", "a/b/c.png"));
        assert!(covers("/home/ann/.cache/x", "f"));
        assert!(covers("/r", "Default/Cache/Cache_Data/f"));
        assert!(!covers("/r", "Other/Cache/f"));
        let fold = |rel: &str| keep.covers(Path::new("/r"), &RelPath::new(rel).unwrap(), true).is_some();
        assert!(fold("A/B.PNG") && fold("default/CACHE/x") && !covers("/r", "A/B.PNG"));
        assert!(Keep::new(["[".into()]).is_err());
        assert!(Keep::new([" ".into()]).is_err());
    }
}
