//! Which stores belong to the shop's own web pages: hosts, and how browsers
//! write an origin into a folder's name.

use crate::fsys::RelPath;

/// Longest host name.
const MAX_HOST: usize = 253;

/// The hosts of the shop, as profiles name them.
#[derive(Debug, Clone, Default)]
pub struct Origins(Vec<Vec<String>>);

impl Origins {
    /// Adds a host; each of its labels may hold `*`, the first may be `*` alone
    /// and then stands for one or more labels.
    pub(crate) fn add(&mut self, host: &str) -> Result<(), String> {
        let labels: Vec<String> = host.split('.').map(str::to_ascii_lowercase).collect();
        let good = |label: &String| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'*')
        };
        // A wildcard for the registered name would take in anybody's host, and
        // `tiktok*.com` is as wide as the vendor's own names are.
        let anchored = labels.len() >= 2
            && labels.iter().rev().take(2).all(|l| l.bytes().any(|b| b.is_ascii_alphanumeric()))
            && labels.last().is_some_and(|l| !l.contains('*'));
        if host.len() > MAX_HOST || !labels.iter().all(good) || !anchored {
            return Err(format!("`{host}` is no host name, such as `seller.example.com` or `*.example.com`"));
        }
        self.0.push(labels);
        Ok(())
    }

    /// Whether a host is one of the shop's.
    #[must_use]
    pub fn is_shop(&self, host: &str) -> bool {
        if host.len() > MAX_HOST {
            return false;
        }
        let host = host.to_ascii_lowercase();
        let labels: Vec<&str> = host.split('.').collect();
        self.0.iter().any(|pattern| match pattern.split_first() {
            Some((first, rest)) if first == "*" => {
                labels.len() > rest.len()
                    && rest.iter().rev().zip(labels.iter().rev()).all(|(p, l)| label_matches(p, l))
            }
            _ => {
                labels.len() == pattern.len() && pattern.iter().zip(&labels).all(|(p, l)| label_matches(p, l))
            }
        })
    }

    /// Whether a store belongs to one of the shop's pages, by its path.
    #[must_use]
    pub fn owns(&self, store: &RelPath) -> bool {
        host_of(store).is_some_and(|host| self.is_shop(&host))
    }
}

fn label_matches(pattern: &str, label: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else { return false };
    let Some(mut rest) = label.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// The host whose page owns a store, when a name on its path is an origin as
/// Chromium (`https_seller-us.tiktok.com_0.indexeddb.leveldb`) or Firefox
/// (`https+++seller-us.tiktok.com^userContextId=1`) writes it.
///
/// Sources: Chromium `storage/common/database/database_identifier.cc`, Firefox
/// `dom/quota`'s test profiles.
#[must_use]
pub fn host_of(store: &RelPath) -> Option<String> {
    store
        .components()
        .filter_map(|name| name.to_str())
        .find_map(|name| chromium_host(name).or_else(|| firefox_host(name)))
}

fn chromium_host(name: &str) -> Option<String> {
    let rest = ["https_", "http_"].iter().find_map(|s| name.strip_prefix(s))?;
    let (host, rest) = rest.rsplit_once('_')?;
    let port = rest.split_once('.').map_or(rest, |(port, _)| port);
    (!port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())).then(|| host_text(host)).flatten()
}

fn firefox_host(name: &str) -> Option<String> {
    let rest = ["https+++", "http+++"].iter().find_map(|s| name.strip_prefix(s))?;
    let host = rest.split_once('^').map_or(rest, |(host, _)| host);
    host_text(host.split_once('+').map_or(host, |(host, _)| host))
}

fn host_text(host: &str) -> Option<String> {
    let good = !host.is_empty()
        && host.len() <= MAX_HOST
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_[]:".contains(&b));
    good.then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn origins() -> Origins {
        let mut out = Origins::default();
        for host in ["seller-us.tiktok.com", "*.tiktok.com", "*-id.tokopedia.com", "*.tiktokshop*.com"] {
            out.add(host).unwrap();
        }
        out
    }

    #[test]
    fn only_the_shops_own_hosts_match() {
        let o = origins();
        for host in [
            "seller-us.tiktok.com",
            "SELLER-US.tiktok.com",
            "a.b.tiktok.com",
            "shop-id.tokopedia.com",
            "seller.tiktokshopglobalselling.com",
            "partner.tiktokshop.com",
        ] {
            assert!(o.is_shop(host), "{host}");
        }
        for host in [
            "tiktok.com",
            "eviltiktok.com",
            "tiktok.com.evil.example",
            "www.tokopedia.com",
            "tokopedia.com",
            "",
            "x.tiktokshop.com.evil.example",
            "x.nottiktokshop.com",
        ] {
            assert!(!o.is_shop(host), "{host}");
        }
    }

    #[test]
    fn a_pattern_that_takes_in_everything_is_refused() {
        for host in ["*", "*.com", "com", "", "a..b", "*.*.com", "a/b.com", "x.c*"] {
            assert!(Origins::default().add(host).is_err(), "{host}");
        }
    }

    #[test]
    fn origins_are_read_from_names() {
        let host = |path: &str| host_of(&RelPath::new(path).unwrap());
        let shop = Some("seller-us.tiktok.com".to_owned());
        assert_eq!(host("Default/IndexedDB/https_seller-us.tiktok.com_0.indexeddb.leveldb"), shop);
        assert_eq!(host("Default/IndexedDB/https_seller-us.tiktok.com_0"), shop);
        assert_eq!(host("p/storage/default/https+++seller-us.tiktok.com^userContextId=1/idb/1.sqlite"), shop);
        assert_eq!(host("p/storage/default/https+++seller-us.tiktok.com+8443"), shop);
        for none in ["Default/Cookies", "https_", "https_x_y", "file__0", "https+++", "chrome"] {
            assert_eq!(host(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_read(name in "\\PC{1,40}") {
            if let Ok(path) = RelPath::root().join(&name) {
                let _ = origins().owns(&path);
            }
        }
    }
}
