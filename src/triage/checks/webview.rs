//! Can apps show web pages?

use crate::triage::answer::{Page, Statement};
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;

/// The WebView: without it, or with a very old one, the shop's pages in the app
/// stay blank.
pub(in crate::triage) struct WebView;

/// WebView 120 is of December 2023, and a version comes every four weeks.
const KNOWN: (u32, i128) = (120, 1_701_734_400);
const EVERY_SECONDS: i128 = 28 * 86_400;
/// Two years: pages of today use what such a version lacks.
const OLD_VERSIONS: i128 = 26;

impl Check for WebView {
    fn id(&self) -> &'static str {
        "app.webview"
    }

    fn cause(&self) -> Cause {
        Cause::Outdated
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let Some(phone) = &evidence.phone else { return Vec::new() };
        let webview = match &phone.webview {
            Ok(webview) => webview,
            Err(why) => return vec![Statement::unseen("app.webview", "the WebView", why.why())],
        };
        if webview.none {
            return vec![
                Statement::found(
                    "app.no-webview",
                    "the phone has no WebView",
                    "The phone has no WebView that apps may use: web pages in apps stay blank.",
                )
                .next("install or enable Android System WebView from the store")
                .on(Page::WebView)
                .seen_in("webviewupdate: no current package"),
            ];
        }
        let Some(major) = webview.major() else {
            return vec![Statement::unseen(
                "app.webview",
                "the WebView",
                "the phone does not say its version",
            )];
        };
        let since = evidence.now_ns / super::SECOND - KNOWN.1;
        let newest = i128::from(KNOWN.0) + since / EVERY_SECONDS;
        if newest - i128::from(major) > OLD_VERSIONS {
            let version = webview.version.as_deref().unwrap_or_default();
            return vec![
                Statement::hint(
                    "app.webview-old",
                    "the WebView is years old",
                    format!("The phone's WebView ({version}) is more than two years old: pages in apps may stay blank."),
                )
                .next("update Android System WebView in the store")
                .on(Page::WebView)
                .seen_in("webviewupdate: the current package"),
            ];
        }
        vec![Statement::nothing("app.webview", "WebView")]
    }
}
