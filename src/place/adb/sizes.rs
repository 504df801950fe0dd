//! `dumpsys diskstats`: how much Android itself counted of each app. It counts
//! at most once a day, while the phone charges and is not used, and does not
//! say when: a hint where nothing better is in reach.

use std::collections::BTreeMap;

use serde::Serialize;

use super::facts::is_package;

/// More than any such text.
const MAX_TEXT: usize = 4 << 20;

/// What Android counted of an app, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// The program itself.
    pub app: u64,
    /// What it keeps.
    pub data: u64,
    /// What it could do without.
    pub cache: u64,
}

impl Sizes {
    /// For a person.
    #[must_use]
    pub fn sentence(&self) -> String {
        let size = |n| bytesize::ByteSize::b(n).display().iec();
        format!("app {}, data {}, cache {}", size(self.app), size(self.data), size(self.cache))
    }
}

/// Reads the four lists (Android's `DiskStatsService`: `Package Names: […]` and
/// the sizes in the same order); nothing when they do not fit together.
#[must_use]
pub fn sizes(text: &[u8]) -> BTreeMap<String, Sizes> {
    if text.len() > MAX_TEXT {
        return BTreeMap::new();
    }
    let list = |title: &str| -> Option<&[u8]> {
        let mut lines = text.split(|&b| b == b'\n');
        lines.find_map(|l| l.strip_prefix(title.as_bytes())?.strip_prefix(b":")).map(<[u8]>::trim_ascii)
    };
    let numbers = |title: &str| -> Option<Vec<u64>> { serde_json::from_slice(list(title)?).ok() };
    let read = || -> Option<BTreeMap<String, Sizes>> {
        let names: Vec<String> = serde_json::from_slice(list("Package Names")?).ok()?;
        let (app, data, cache) = (numbers("App Sizes")?, numbers("App Data Sizes")?, numbers("Cache Sizes")?);
        if [app.len(), data.len(), cache.len()] != [names.len(); 3] {
            return None;
        }
        let all = names.into_iter().zip(app).zip(data).zip(cache);
        let all = all.map(|(((name, app), data), cache)| (name, Sizes { app, data, cache }));
        Some(all.filter(|(name, _)| is_package(name)).collect())
    };
    read().unwrap_or_default()
}

/// What Android counted of the caches of all apps, in bytes; none when it did
/// not.
pub(super) fn all_caches(text: &[u8]) -> Option<u64> {
    let all = sizes(text);
    (!all.is_empty()).then(|| all.values().fold(0, |sum: u64, s| sum.saturating_add(s.cache)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_lists_belong_together() {
        let text = b"Latency: 1ms [512B Data Write]\nData-Free: 5K / 9K total = 55% free\n\
            App Size: 30\nPackage Names: [\"com.a\",\"com.b\",\"../x\"]\nApp Sizes: [1,2,3]\n\
            App Data Sizes: [10,20,30]\nCache Sizes: [100,200,300]\n";
        let found = sizes(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found["com.b"], Sizes { app: 2, data: 20, cache: 200 });
        assert_eq!(found["com.b"].sentence(), "app 2 B, data 20 B, cache 200 B");
        let short = b"Package Names: [\"com.a\",\"com.b\"]\nApp Sizes: [1]\nApp Data Sizes: [1,2]\nCache Sizes: [1,2]\n";
        assert!(sizes(short).is_empty());
        let odd = b"Package Names: [\"com.a\"]\nApp Sizes: [-1]\nApp Data Sizes: [1]\nCache Sizes: [1]\n";
        assert!(sizes(odd).is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = sizes(&bytes);
            let _ = sizes(&[b"Package Names: [\"com.a\"]\nApp Sizes: ".as_slice(), &bytes].concat());
        }
    }
}
