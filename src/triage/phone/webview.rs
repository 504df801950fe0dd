//! `dumpsys webviewupdate`: the part of Android that shows web pages in apps.

use super::package::version;
use super::said::Answers;
use crate::triage::evidence::Seen;

/// The WebView that apps get.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebView {
    /// Its version; none when the phone has none that may be used.
    pub version: Option<String>,
    /// Whether the phone says that there is none.
    pub none: bool,
}

const CURRENT: &str = "Current WebView package";

pub(super) fn read(answers: &Answers) -> Seen<WebView> {
    let text = answers.text("webview", &[CURRENT])?;
    let line = text.lines().find(|l| l.trim_start().starts_with(CURRENT)).unwrap_or_default();
    let rest = line.trim_start().strip_prefix(CURRENT).unwrap_or_default();
    if rest.trim() == "is null" {
        return Ok(WebView { version: None, none: true });
    }
    // ` (name, version): (com.google.android.webview, 120.0.6099.43)`
    let pair = rest.rsplit_once('(').map(|(_, pair)| pair.trim_end().trim_end_matches(')'));
    let number = pair.and_then(|pair| version(pair.split_once(',')?.1));
    Ok(WebView { version: number, none: false })
}

impl WebView {
    /// The first part of its version.
    #[must_use]
    pub fn major(&self) -> Option<u32> {
        self.version.as_ref()?.split('.').next()?.parse().ok()
    }
}
