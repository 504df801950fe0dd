//! What a check is, and the list of them.

use super::answer::Statement;
use super::cause::Cause;
use super::checks;
use super::evidence::Evidence;

/// A pure function from evidence to statements.
pub trait Check: Sync {
    /// Stable: `network.default`.
    fn id(&self) -> &'static str;

    /// The cause it is about.
    fn cause(&self) -> Cause;

    /// What it answers; nothing where the question does not arise.
    fn answer(&self, evidence: &Evidence) -> Vec<Statement>;
}

/// Every check, in the order of reporting: a check that explains another comes first.
#[must_use]
pub fn all() -> Vec<&'static dyn Check> {
    vec![
        &checks::Clock,
        &checks::Airplane,
        &checks::Network,
        &checks::Route,
        &checks::Blocked,
        &checks::Hosts,
        &checks::PrivateDns,
        &checks::Dns,
        &checks::Proxy,
        &checks::Vpn,
        &checks::Browsers,
        &checks::AppState,
        &checks::WebView,
        &checks::Disk,
        &checks::Damage,
        &checks::Scan,
        &checks::Crashes,
        &checks::Memory,
        &checks::AppVersion,
        &checks::BrowserVersion,
        &checks::System,
        &checks::Background,
        &checks::Cache,
        &checks::Region,
        &checks::Online,
        &checks::Reach,
        &checks::POLICY,
        &checks::PAYMENT,
        &checks::LISTINGS,
        &checks::ACCOUNT,
    ]
}
