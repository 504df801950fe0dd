//! The data of an Android device, healthy or damaged, as an image to scan.
#![allow(unreachable_pub)]

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use shopmend::sample::android;
use shopmend::sample::android::Roots;
use shopmend::sample::harm::Harm;

/// An image below a temporary folder.
pub struct AndroidTree {
    tmp: tempfile::TempDir,
}

impl AndroidTree {
    /// The TikTok app and Seller Center, every store healthy.
    pub fn healthy() -> Self {
        let tmp = tempfile::tempdir().unwrap();
        android::image(tmp.path(), SystemTime::now()).unwrap();
        Self { tmp }
    }

    /// What `--image` takes.
    pub fn image(&self) -> &Path {
        self.tmp.path()
    }

    /// Where the TikTok app's data lies.
    pub fn tiktok(&self) -> Roots {
        Roots::new(self.image(), android::TIKTOK)
    }

    /// Damages one store of the TikTok app: hands back the store's path.
    pub fn damage(&self, harm: Harm) -> PathBuf {
        let roots = self.tiktok();
        harm.apply(&roots).unwrap();
        harm.store(&roots)
    }
}
