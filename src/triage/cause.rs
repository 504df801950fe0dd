//! The nine causes that a shop app fails for, in the order in which guides
//! list them.

use serde::Serialize;

/// A cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// No network, a wrong clock, something in between that blocks the shop.
    Connectivity,
    /// A violation of the shop's policies.
    Policy,
    /// Payouts, bank account, billing.
    Payment,
    /// Products that were rejected, frozen or are not complete.
    Listings,
    /// The account is restricted, or not verified.
    Account,
    /// The platform itself is down.
    Outage,
    /// The app, the browser or the system is too old or not whole.
    Outdated,
    /// The account's market and the device's do not agree.
    Region,
    /// Damaged or overgrown data, and a device without room for it.
    Data,
}

impl Cause {
    /// All nine, in their order.
    pub const ALL: [Self; 9] = [
        Self::Connectivity,
        Self::Policy,
        Self::Payment,
        Self::Listings,
        Self::Account,
        Self::Outage,
        Self::Outdated,
        Self::Region,
        Self::Data,
    ];

    /// The word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connectivity => "connectivity",
            Self::Policy => "policy",
            Self::Payment => "payment",
            Self::Listings => "listings",
            Self::Account => "account",
            Self::Outage => "outage",
            Self::Outdated => "outdated",
            Self::Region => "region",
            Self::Data => "data",
        }
    }

    /// What it is called in a table.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Outage => "platform outage",
            Self::Outdated => "outdated app",
            Self::Data => "cache or data",
            other => other.as_str(),
        }
    }

    /// Where Seller Center shows what no device can see.
    #[must_use]
    pub fn seller_center(self) -> Option<&'static str> {
        match self {
            Self::Policy => Some("Account health: violations and appeals"),
            Self::Payment => Some("Finance: payments and bank account"),
            Self::Listings => Some("Manage products: failed or frozen"),
            Self::Account => Some("My account: status and verification"),
            Self::Outage => Some("Messages: announcements"),
            _ => None,
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
