//! Ways in which stores get damaged, done to the sample stores: a torn write,
//! zeroed blocks, a flipped bit, a lost file.

use std::fs::{self, FileTimes, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::android::Roots;
use super::{android, disk_lru};
use crate::model::StoreKind;
use crate::sqlite::format::{DbHeader, be16};

/// One kind of damage to one store of the TikTok app's sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Harm {
    /// Bytes inside a table page of the messages are overwritten.
    MessagesPage,
    /// The drafts' database lost its first page's header.
    DraftsHeader,
    /// The contacts' database ends in the middle.
    ContactsCut,
    /// Preferences torn by a power cut, with their backup still there.
    PrefsTorn,
    /// Preferences torn, and no backup.
    PrefsLost,
    /// Sound preferences beside a damaged backup.
    PrefsBadBackup,
    /// The last append to MMKV never reached the disk.
    MmkvTail,
    /// MMKV damaged beyond its last confirmed state.
    MmkvLost,
    /// A Keva repository's blocks are all zero.
    KevaZero,
    /// A JSON state file that ends in the middle.
    JsonTorn,
    /// A Glide entry shorter than its journal says.
    GlideEntryCut,
    /// `OkHttp`'s journal begins with garbage.
    OkhttpJournal,
    /// A Fresco picture of zero bytes only.
    FrescoZero,
    /// A Fresco picture cut in the middle.
    FrescoCut,
    /// A cached video without its head.
    MediaLoaderAlone,
    /// An ExoPlayer index with a flipped bit.
    ExoIndex,
    /// A cached video cut in the middle.
    VideoCut,
}

impl Harm {
    /// Every damage; together they spare no kind, and none undoes another.
    pub const ALL: [Self; 17] = [
        Self::MessagesPage,
        Self::DraftsHeader,
        Self::ContactsCut,
        Self::PrefsTorn,
        Self::PrefsLost,
        Self::PrefsBadBackup,
        Self::MmkvTail,
        Self::MmkvLost,
        Self::KevaZero,
        Self::JsonTorn,
        Self::GlideEntryCut,
        Self::OkhttpJournal,
        Self::FrescoZero,
        Self::FrescoCut,
        Self::MediaLoaderAlone,
        Self::ExoIndex,
        Self::VideoCut,
    ];

    /// The kind of the store that it damages.
    #[must_use]
    pub fn kind(self) -> StoreKind {
        match self {
            Self::MessagesPage | Self::DraftsHeader | Self::ContactsCut => StoreKind::Sqlite,
            Self::PrefsTorn | Self::PrefsLost | Self::PrefsBadBackup => StoreKind::SharedPrefs,
            Self::MmkvTail | Self::MmkvLost => StoreKind::Mmkv,
            Self::KevaZero => StoreKind::Keva,
            Self::JsonTorn => StoreKind::Json,
            Self::GlideEntryCut | Self::OkhttpJournal => StoreKind::DiskLruCache,
            Self::FrescoZero | Self::FrescoCut => StoreKind::Fresco,
            Self::MediaLoaderAlone => StoreKind::MediaLoader,
            Self::ExoIndex => StoreKind::ExoCache,
            Self::VideoCut => StoreKind::Media,
        }
    }

    /// What happened, for a person.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            Self::MessagesPage => "a page of the messages was overwritten",
            Self::DraftsHeader => "the drafts' database lost its header",
            Self::ContactsCut => "the contacts' database was cut short",
            Self::PrefsTorn => "a settings file was torn while it was written",
            Self::PrefsLost => "a settings file was torn and has no backup",
            Self::PrefsBadBackup => "the backup beside a settings file is damaged",
            Self::MmkvTail => "the last change of a key-value store was lost",
            Self::MmkvLost => "a key-value store was overwritten",
            Self::KevaZero => "a Keva repository was zeroed",
            Self::JsonTorn => "a state file was cut short",
            Self::GlideEntryCut => "a cached image was cut short",
            Self::OkhttpJournal => "a cache journal was overwritten",
            Self::FrescoZero => "a cached picture was zeroed",
            Self::FrescoCut => "a cached picture was cut short",
            Self::MediaLoaderAlone => "a cached video lost its head",
            Self::ExoIndex => "a video cache's index has a flipped bit",
            Self::VideoCut => "a cached clip was cut short",
        }
    }

    /// The file or folder that is the store, as a path on this machine.
    #[must_use]
    pub fn store(self, roots: &Roots) -> PathBuf {
        let (data, external) = (&roots.data, &roots.external);
        match self {
            Self::MessagesPage => data.join(format!("databases/{}_im.db", android::USER)),
            Self::DraftsHeader => data.join("databases/aweme.db"),
            Self::ContactsCut => data.join("databases/db_im_xx"),
            Self::PrefsTorn => data.join("shared_prefs/aweme_user.xml"),
            Self::PrefsLost => data.join("shared_prefs/search.xml"),
            Self::PrefsBadBackup => data.join("shared_prefs/aweme-app.xml"),
            Self::MmkvTail => data.join("files/mmkv/mmkv.default"),
            Self::MmkvLost => data.join("files/mmkv/live_settings"),
            Self::KevaZero => data.join("files/keva/repo/aweme-app"),
            Self::JsonTorn => data.join("files/server.json"),
            Self::GlideEntryCut => data.join("cache/image_manager_disk_cache"),
            Self::OkhttpJournal => data.join("cache/okhttp3"),
            Self::FrescoZero | Self::FrescoCut => external.join("cache/picture/fresco_cache"),
            Self::MediaLoaderAlone => external.join("cache/cachev2"),
            Self::ExoIndex => external.join("cache/exo"),
            Self::VideoCut => external.join("cache/cache"),
        }
    }

    /// Does the damage and hands back the file that it was done to.
    ///
    /// # Errors
    /// The system's error; `NotFound` where the sample has no such store.
    pub fn apply(self, roots: &Roots) -> io::Result<PathBuf> {
        let store = self.store(roots);
        match self {
            Self::MessagesPage => overwrite(&store, 4096 * 9 + 700, &[0x5a; 1500])?,
            Self::DraftsHeader => overwrite(&store, 0, &[0; 60])?,
            Self::ContactsCut | Self::PrefsLost | Self::JsonTorn => cut(&store)?,
            Self::PrefsTorn => {
                copy(&store, &with_suffix(&store, ".bak"))?;
                cut(&store)?;
            }
            Self::PrefsBadBackup => {
                let backup = with_suffix(&store, ".bak");
                copy(&store, &backup)?;
                cut(&backup)?;
                return Ok(backup);
            }
            // The appended entries begin behind the confirmed ones.
            Self::MmkvTail => {
                let end = u64::from(read_u32(&store, 0)?);
                overwrite(&store, 4 + end - 6, &[0; 6])?;
            }
            Self::MmkvLost => overwrite(&store, 8, &[0xee; 24])?,
            Self::KevaZero => {
                let file = store.join("aweme-app.blk");
                let len = fs::metadata(&file)?.len();
                overwrite(&file, 0, &vec![0; usize::try_from(len).unwrap_or(0)])?;
                return Ok(file);
            }
            Self::GlideEntryCut => {
                let file = largest(&store, ".0")?;
                cut(&file)?;
                return Ok(file);
            }
            Self::OkhttpJournal => {
                let file = store.join(disk_lru::JOURNAL);
                overwrite(&file, 0, &[0; 40])?;
                return Ok(file);
            }
            Self::FrescoZero => {
                let file = nth_below(&store, ".cnt", 3)?;
                let len = fs::metadata(&file)?.len();
                overwrite(&file, 0, &vec![0; usize::try_from(len).unwrap_or(0)])?;
                return Ok(file);
            }
            Self::FrescoCut => {
                let file = nth_below(&store, ".cnt", 8)?;
                cut(&file)?;
                return Ok(file);
            }
            Self::MediaLoaderAlone => {
                let file = nth_below(&store, ".mdlnodeconf", 2)?;
                fs::remove_file(&file)?;
                return Ok(file);
            }
            Self::ExoIndex => {
                let file = store.join("cached_content_index.exi");
                let mut bytes = fs::read(&file)?;
                if let Some(byte) = bytes.get_mut(20) {
                    *byte ^= 0x04;
                }
                overwrite(&file, 0, &bytes)?;
                return Ok(file);
            }
            Self::VideoCut => {
                let file = nth_below(&store, "", 1)?;
                cut(&file)?;
                return Ok(file);
            }
        }
        Ok(store)
    }
}

/// Overwrites bytes in place and leaves the file's times as they were, as a
/// failing disk does.
///
/// # Errors
/// The system's error.
pub fn overwrite(path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
    keep_times(path, |file| {
        file.seek(SeekFrom::Start(at))?;
        file.write_all(bytes)
    })
}

/// Changes a key in the first index of a closed sample database, so that the
/// index no longer fits its table; no row is touched.
///
/// # Errors
/// The system's error; `InvalidData` where the database has no filled index.
pub fn break_index(path: &Path) -> io::Result<()> {
    let none = || io::Error::new(io::ErrorKind::InvalidData, "the sample database has no filled index");
    let bytes = fs::read(path)?;
    let header = DbHeader::parse(&bytes).ok_or_else(none)?;
    let size = header.page_size.ok_or_else(none)? as usize;
    for (number, page) in bytes.chunks_exact(size).enumerate().skip(1) {
        let cells = be16(page, 3).unwrap_or(0);
        if page.first() == Some(&10) && cells > 1 {
            let first = usize::from(be16(page, 8).ok_or_else(none)?);
            let text = page.get(first..).ok_or_else(none)?;
            let letter = text.iter().position(u8::is_ascii_lowercase).ok_or_else(none)?;
            let at = (number * size + first + letter) as u64;
            return overwrite(path, at, b"~");
        }
    }
    Err(none())
}

/// Cuts a file to half of its length.
///
/// # Errors
/// The system's error.
pub fn cut(path: &Path) -> io::Result<()> {
    let len = fs::metadata(path)?.len();
    keep_times(path, |file| file.set_len(len / 2))
}

fn keep_times(path: &Path, change: impl FnOnce(&mut fs::File) -> io::Result<()>) -> io::Result<()> {
    let meta = fs::metadata(path)?;
    let mut file = OpenOptions::new().write(true).open(path)?;
    change(&mut file)?;
    file.set_times(FileTimes::new().set_modified(meta.modified()?))
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to).map(drop)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn read_u32(path: &Path, at: u64) -> io::Result<u32> {
    let mut file = fs::File::open(path)?;
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = [0; 4];
    file.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

/// The `n`th file below `folder` whose name ends so, by path.
fn nth_below(folder: &Path, suffix: &str, n: usize) -> io::Result<PathBuf> {
    files(folder, suffix)?.into_iter().nth(n).ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn largest(folder: &Path, suffix: &str) -> io::Result<PathBuf> {
    let size = |path: &PathBuf| fs::metadata(path).map_or(0, |m| m.len());
    files(folder, suffix)?.into_iter().max_by_key(size).ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn files(folder: &Path, suffix: &str) -> io::Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let entry = entry?;
        if entry.file_type().is_file() && entry.file_name().to_string_lossy().ends_with(suffix) {
            out.push(entry.into_path());
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn every_harm_changes_its_store_and_nothing_else() {
        let seen = |image: &Path| -> Vec<(PathBuf, Vec<u8>)> {
            files(image, "").unwrap().into_iter().map(|p| (p.clone(), fs::read(p).unwrap())).collect()
        };
        let tmp = tempfile::tempdir().unwrap();
        for harm in Harm::ALL {
            let image = tmp.path().join(format!("{harm:?}"));
            android::tiktok(&image, SystemTime::now()).unwrap();
            let roots = Roots::new(&image, android::TIKTOK);
            let before = seen(&image);
            let at = harm.apply(&roots).unwrap();
            let store = harm.store(&roots);
            assert!(
                at.starts_with(&store) || at == with_suffix(&store, ".bak"),
                "{harm:?}: {}",
                at.display()
            );
            let after = seen(&image);
            let changed: Vec<_> = before
                .iter()
                .filter(|b| !after.contains(b))
                .chain(after.iter().filter(|a| !before.contains(a)))
                .collect();
            assert!(!changed.is_empty(), "{harm:?}");
            assert!(changed.iter().all(|(p, _)| p.starts_with(&store) || *p == with_suffix(&store, ".bak")));
        }
    }
}
