//! A Chromium browser's user data folder.

use serde_json::Value;

use super::browser::{Browser, Extension, MAX_PROFILES, Setting, covers_shop, read};
use crate::fsys::{Dir, RelPath, printable};
use crate::triage::markets::Markets;
use crate::triage::phone::version;

/// Chromium's number for a content setting that blocks.
const BLOCK: u64 = 2;
/// Cookies of other sites than the one that is open are blocked.
const THIRD_PARTY: u64 = 1;
/// Permissions with which an extension may keep a page from loading something.
const BLOCKING: [&str; 3] =
    ["declarativeNetRequest", "declarativeNetRequestWithHostAccess", "webRequestBlocking"];
/// Maximum number of extensions checked.
const MAX_EXTENSIONS: usize = 500;

/// Looks at a user data folder; `None` if it is not one.
pub(super) fn look(dir: &Dir, running: bool) -> Option<Browser> {
    let state = read(dir, "Local State")?;
    let mut out = Browser::default();
    let state = json(state, &mut out);
    let dns = |key: &str| state.pointer(&format!("/dns_over_https/{key}")).and_then(Value::as_str);
    if dns("mode").is_some_and(|mode| mode != "off") {
        out.dns_filter = dns("templates").and_then(|t| Markets::known().filter_of(t)).map(str::to_owned);
    }
    if let Some(Ok(text)) = read(dir, "Last Version") {
        out.version = version(&String::from_utf8_lossy(&text));
        let meta = RelPath::new("Last Version").ok().and_then(|rel| dir.stat(&rel).ok());
        out.ran_ns = meta.map(|m| m.mtime_ns);
    }
    let listed = state.pointer("/profile/info_cache").and_then(Value::as_object);
    let mut profiles: Vec<String> = listed.map(|all| all.keys().cloned().collect()).unwrap_or_default();
    if profiles.is_empty() {
        profiles.push("Default".to_owned());
    }
    for name in profiles.iter().take(MAX_PROFILES) {
        let Ok(rel) = RelPath::name(name) else { continue };
        if let Ok(folder) = dir.dir(&rel) {
            out.add(profile(&folder, running));
        }
    }
    Some(out)
}

fn json(read: std::io::Result<Vec<u8>>, out: &mut Browser) -> Value {
    let value = read.ok().and_then(|text| serde_json::from_slice(&text).ok());
    value.unwrap_or_else(|| {
        out.unread += 1;
        Value::Null
    })
}

fn profile(dir: &Dir, running: bool) -> Browser {
    let mut out = Browser { profiles: 1, ..Browser::default() };
    let preferences = read(dir, "Preferences").map(|r| json(r, &mut out)).unwrap_or_default();
    let secure = read(dir, "Secure Preferences").map(|r| json(r, &mut out)).unwrap_or_default();
    out.cookies = setting(&preferences, "cookies");
    out.javascript = setting(&preferences, "javascript");
    out.images = setting(&preferences, "images");
    let number = |path: &str| preferences.pointer(path).and_then(Value::as_u64);
    let is = |path: &str| preferences.pointer(path).and_then(Value::as_bool) == Some(true);
    out.third_party_cookies_blocked = number("/profile/cookie_controls_mode") == Some(THIRD_PARTY)
        || is("/profile/block_third_party_cookies");
    let mode = preferences.pointer("/proxy/mode").and_then(Value::as_str);
    out.proxy = matches!(mode, Some("fixed_servers" | "pac_script" | "auto_detect"));
    // Chromium sets it at every start, so it means nothing while the browser runs.
    let exit = preferences.pointer("/profile/exit_type").and_then(Value::as_str);
    out.crashed = !running && exit == Some("Crashed");
    out.blockers = extensions(dir, &[&secure, &preferences]);
    out
}

fn setting(preferences: &Value, what: &str) -> Setting {
    let of = |path: String| preferences.pointer(&path).and_then(Value::as_u64);
    let default = ["default_content_setting_values", "managed_default_content_settings"];
    if default.iter().any(|key| of(format!("/profile/{key}/{what}")) == Some(BLOCK)) {
        return Setting::Blocked;
    }
    let managed = preferences.pointer(&format!("/profile/managed_{what}_blocked_for_urls"));
    let mut managed = managed.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    if managed.any(covers_shop) {
        return Setting::BlockedForShop;
    }
    let exceptions = preferences.pointer(&format!("/profile/content_settings/exceptions/{what}"));
    let mut exceptions = exceptions.and_then(Value::as_object).into_iter().flatten();
    let blocks = |(pattern, value): (&String, &Value)| {
        covers_shop(pattern) && value.get("setting").and_then(Value::as_u64) == Some(BLOCK)
    };
    if exceptions.any(blocks) { Setting::BlockedForShop } else { Setting::Allowed }
}

/// The extensions that are switched on and may block the shop's requests.
fn extensions(dir: &Dir, preferences: &[&Value]) -> Vec<Extension> {
    let all = preferences.iter().filter_map(|p| p.pointer("/extensions/settings")?.as_object());
    let mut out = Vec::new();
    for (id, settings) in all.flatten().take(MAX_EXTENSIONS) {
        let off = settings.get("state").and_then(Value::as_u64) == Some(0)
            || settings.get("disable_reasons").is_some_and(|r| match r {
                Value::Array(reasons) => !reasons.is_empty(),
                other => other.as_u64().is_some_and(|n| n != 0),
            });
        if off {
            continue;
        }
        let manifest = settings.get("manifest").cloned().or_else(|| {
            let path = settings.get("path")?.as_str()?;
            let path = RelPath::new(format!("Extensions/{path}/manifest.json")).ok()?;
            serde_json::from_slice(&read(dir, path.as_path().to_str()?)?.ok()?).ok()
        });
        if let Some(manifest) = manifest.filter(may_block) {
            let name = manifest.get("name").and_then(Value::as_str).filter(|n| !n.starts_with("__MSG_"));
            let name = name.map_or_else(|| id.clone(), |n| n.chars().take(60).collect());
            out.push(Extension(printable(&name)));
        }
    }
    out
}

/// Whether a manifest asks for the right to keep the shop's pages from loading
/// something.
pub(super) fn may_block(manifest: &Value) -> bool {
    let list = |key: &str| {
        let all = manifest.get(key).and_then(Value::as_array).into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let permissions = list("permissions");
    let hosts = list("host_permissions");
    let everywhere = |h: &String| h == "<all_urls>" || h == "*://*/*" || h == "https://*/*" || covers_shop(h);
    permissions.iter().any(|p| BLOCKING.contains(&p.as_str()))
        && permissions.iter().chain(&hosts).any(everywhere)
}
