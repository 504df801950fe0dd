//! The shop's markets and hosts, which are data: `profiles/triage.toml`.

use std::sync::OnceLock;

use serde::Deserialize;

/// A market of the shop.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Market {
    /// The country's code: `US`.
    pub code: String,
    /// Other codes that people write.
    #[serde(default)]
    pub also: Vec<String>,
    /// The host of its Seller Center.
    pub host: String,
    /// The time zones of its people; `*` at the end stands for any name.
    pub zones: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Chooser {
    host: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Traffic {
    suffixes: Vec<String>,
    except: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filters {
    names: Vec<String>,
}

/// Whom `--online` asks, besides the host of the account's market.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hosts {
    /// Of the shop, whatever the market.
    pub shop: Vec<String>,
    /// Unrelated to the shop and to each other.
    pub controls: Vec<String>,
    /// Answers 204 to a plain request for `/generate_204`.
    pub portal: String,
    /// Exists nowhere.
    pub nowhere: String,
}

/// What is known of the shop's markets and hosts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Markets {
    /// The day on which the lists were checked.
    pub checked: String,
    /// Where they come from.
    pub source: String,
    #[serde(rename = "market")]
    all: Vec<Market>,
    chooser: Chooser,
    traffic: Traffic,
    filters: Filters,
    /// Whom `--online` asks.
    pub online: Hosts,
}

impl Markets {
    /// The lists of this program.
    ///
    /// # Panics
    /// Never: a test reads them.
    pub fn known() -> &'static Self {
        static KNOWN: OnceLock<Markets> = OnceLock::new();
        KNOWN.get_or_init(|| match toml::from_str(include_str!("../../profiles/triage.toml")) {
            Ok(markets) => markets,
            Err(e) => unreachable!("profiles/triage.toml: {e}"),
        })
    }

    /// The market that a person, a SIM card or a locale names.
    #[must_use]
    pub fn of(&self, code: &str) -> Option<&Market> {
        let code = code.to_ascii_uppercase();
        self.all.iter().find(|m| m.code == code || m.also.contains(&code))
    }

    /// The codes of all markets.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|m| m.code.as_str())
    }

    /// The country that a time zone lies in, where it is one of a market.
    #[must_use]
    pub fn of_zone(&self, zone: &str) -> Option<&str> {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => zone.starts_with(start),
            None => zone == pattern,
        };
        self.all.iter().find(|m| m.zones.iter().any(fits)).map(|m| m.code.as_str())
    }

    /// The host of Seller Center for a market, or that where one chooses it.
    #[must_use]
    pub fn seller_host(&self, code: Option<&str>) -> &str {
        code.and_then(|c| self.of(c)).map_or(&self.chooser.host, |m| &m.host)
    }

    /// The suffix that a host of the shop ends with.
    #[must_use]
    pub fn suffix_of(&self, host: &str) -> Option<&str> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let below = |suffix: &str| {
            host.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        if self.traffic.except.iter().any(|s| below(s)) {
            return None;
        }
        self.traffic.suffixes.iter().find(|s| below(s)).map(String::as_str)
    }

    /// The resolver that blocks by choice, if that is what a name is of.
    #[must_use]
    pub fn filter_of(&self, host: &str) -> Option<&str> {
        let host = host.to_ascii_lowercase();
        self.filters.names.iter().find(|n| host.contains(n.as_str())).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_read() {
        let known = Markets::known();
        assert_eq!(known.of("uk").map(|m| m.code.as_str()), Some("GB"));
        assert_eq!(known.of_zone("America/Indiana/Knox"), Some("US"));
        assert_eq!(known.of_zone("Europe/Vienna"), None);
        assert_eq!(known.seller_host(Some("ID")), "seller-id.tokopedia.com");
        assert_eq!(known.seller_host(None), "seller.tiktok.com");
        assert!(known.checked.len() == 10 && !known.source.is_empty() && known.codes().count() >= 16);
    }

    #[test]
    fn hosts_are_matched_by_whole_labels() {
        let known = Markets::known();
        assert_eq!(known.suffix_of("Seller-US.TikTok.com."), Some("tiktok.com"));
        assert_eq!(known.suffix_of("p16.tiktokcdn.com"), Some("tiktokcdn.com"));
        for other in ["nottiktok.com", "tiktok.com.example.org", "analytics.tiktok.com", "com", ""] {
            assert_eq!(known.suffix_of(other), None, "{other}");
        }
    }
}
