//! What an administrator forbids the browsers of a Linux system.

use serde_json::Value;

use super::Files;
use super::browser::covers_shop;

/// Something of a browser's policies that stands in the shop's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The browser: `Chrome`.
    pub browser: &'static str,
    /// The policy's own name: `URLBlocklist`.
    pub name: &'static str,
}

const CHROMIUM: [(&str, &str); 3] = [
    ("Chrome", "etc/opt/chrome/policies/managed"),
    ("Chromium", "etc/chromium/policies/managed"),
    ("Edge", "etc/opt/edge/policies/managed"),
];
const FIREFOX: [&str; 2] =
    ["etc/firefox/policies/policies.json", "usr/lib/firefox/distribution/policies.json"];
/// Maximum number of policy files per folder.
const MAX_FILES: usize = 50;

pub(super) fn look(files: &dyn Files) -> Vec<Policy> {
    let mut out = Vec::new();
    for (browser, folder) in CHROMIUM {
        for name in files.names(folder).unwrap_or_default().iter().take(MAX_FILES) {
            let Ok(text) = files.read(&format!("{folder}/{name}")) else { continue };
            let Ok(policy) = serde_json::from_slice(&text) else { continue };
            out.extend(chromium(&policy).into_iter().map(|name| Policy { browser, name }));
        }
    }
    for path in FIREFOX {
        let Ok(text) = files.read(path) else { continue };
        let Ok(policy) = serde_json::from_slice::<Value>(&text) else { continue };
        let names = firefox(policy.get("policies").unwrap_or(&Value::Null));
        out.extend(names.into_iter().map(|name| Policy { browser: "Firefox", name }));
    }
    out
}

fn chromium(policy: &Value) -> Vec<&'static str> {
    let number = |name: &str| policy.get(name).and_then(Value::as_u64);
    let lists = |name: &str| {
        let all = policy.get(name).and_then(Value::as_array).into_iter().flatten();
        all.filter_map(Value::as_str).any(|pattern| pattern == "*" || covers_shop(pattern))
    };
    let mut out = Vec::new();
    for name in ["URLBlocklist", "URLBlacklist", "CookiesBlockedForUrls", "JavaScriptBlockedForUrls"] {
        // An allowlist overrides the blocklist; assume it covers the shop.
        if lists(name) && !lists("URLAllowlist") {
            out.push(name);
        }
    }
    for name in ["DefaultCookiesSetting", "DefaultJavaScriptSetting"] {
        if number(name) == Some(2) {
            out.push(name);
        }
    }
    out
}

fn firefox(policies: &Value) -> Vec<&'static str> {
    let mut out = Vec::new();
    let blocked = policies.pointer("/WebsiteFilter/Block").and_then(Value::as_array).into_iter().flatten();
    if blocked.filter_map(Value::as_str).any(|p| p == "<all_urls>" || covers_shop(p)) {
        out.push("WebsiteFilter");
    }
    if policies.pointer("/Cookies/Behavior").and_then(Value::as_str) == Some("reject") {
        out.push("Cookies");
    }
    out
}
