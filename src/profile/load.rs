//! Reads profile files: the built-in ones, which are part of the program, and
//! a person's own.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::Profiles;
use super::assemble::{Prove, assemble};
use super::problem::{Problem, Problems, Source};
use crate::error::{Error, Kind, Result};
use crate::model::Platform;

/// Largest profile file, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Most files in a folder of profiles.
const MAX_FILES: usize = 100;

/// Where a person's own profiles are looked for, besides the built-in ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extra {
    /// The configuration folder: `profiles.toml` and `profiles.d/*.toml` in it,
    /// where they exist.
    pub config_dir: Option<PathBuf>,
    /// `--profiles DIR`: every `*.toml` in each; they must exist.
    pub dirs: Vec<PathBuf>,
    /// Built-in apps of other platforms are left out; with none named, none is.
    pub platforms: Vec<Platform>,
}

/// Reads the built-in profiles and a person's own.
pub(crate) fn load(extra: &Extra) -> Result<Profiles> {
    let mut sources = builtin();
    for path in files(extra)? {
        sources.push(read(&path)?);
    }
    Ok(assemble(&sources, Prove::Own, &extra.platforms)?)
}

/// The files of this program.
pub(crate) fn builtin() -> Vec<Source> {
    macro_rules! embedded {
        ($($name:literal),* $(,)?) => {
            vec![$(Source::new(
                concat!("profiles/", $name),
                include_str!(concat!("../../profiles/", $name)),
                true,
            )),*]
        };
    }
    embedded![
        "never.toml",
        "origins.toml",
        "chromium.toml",
        "firefox.toml",
        "bytedance.toml",
        "desktop.toml",
        "windows.toml",
        "macos.toml",
        "linux.toml",
        "android.toml",
    ]
}

/// The files of a person, in the order in which they are read.
fn files(extra: &Extra) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    if let Some(dir) = &extra.config_dir {
        let one = dir.join("profiles.toml");
        if one.try_exists().map_err(|e| Error::io("cannot look for profiles", &one, e))? {
            out.push(one);
        }
        let many = dir.join("profiles.d");
        if many.try_exists().map_err(|e| Error::io("cannot look for profiles", &many, e))? {
            out.extend(toml_files(&many)?);
        }
    }
    for dir in &extra.dirs {
        out.extend(toml_files(dir)?);
    }
    Ok(out)
}

fn toml_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let unreadable =
        |e| Error::io("cannot read the folder of profiles", dir, e).hint("name an existing folder");
    let mut out = Vec::new();
    for entry in WalkDir::new(dir).min_depth(1).max_depth(1) {
        let path = entry.map_err(|e| unreadable(e.into()))?.into_path();
        if path.extension().is_some_and(|e| e == "toml") {
            out.push(path);
        }
        if out.len() > MAX_FILES {
            return Err(Error::new(Kind::Profile, format!("more than {MAX_FILES} profile files")).on(dir));
        }
    }
    out.sort();
    Ok(out)
}

/// Reads one file of a person's.
pub(crate) fn read(path: &Path) -> Result<Source> {
    let unreadable = |e| Error::io("cannot read the profile", path, e);
    let file = File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(Error::new(Kind::Profile, "the profile is not a regular file").on(path));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::new(Kind::Profile, "the profile is larger than 1 MiB").on(path));
    }
    let name = path.display().to_string();
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(name, text, false)),
        Err(e) => {
            let good = e.utf8_error().valid_up_to();
            let line = e.as_bytes().get(..good).unwrap_or_default().split(|b| *b == b'\n').count();
            Err(Problems(vec![Problem { file: name, line, reason: "the text is not UTF-8".to_owned() }])
                .into())
        }
    }
}
