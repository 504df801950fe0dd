//! Which hosts `--online` contacts.

use crate::triage::markets::Markets;

/// Why a host is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It is the shop's.
    Shop,
    /// It has nothing to do with the shop.
    Control,
    /// It tells whether the network wants a sign-in.
    Portal,
    /// It exists nowhere: only its name is looked up.
    Nowhere,
}

/// One host that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub host: String,
    pub role: Role,
}

/// The hosts to contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub hosts: Vec<Asked>,
}

impl Plan {
    /// Whom to ask for an account of that market.
    #[must_use]
    pub fn of(region: Option<&str>) -> Self {
        let known = Markets::known();
        let online = &known.online;
        let asked = |host: &str, role| Asked { host: host.to_owned(), role };
        let mut hosts = vec![asked(known.seller_host(region), Role::Shop)];
        hosts.extend(online.shop.iter().map(|h| asked(h, Role::Shop)));
        hosts.extend(online.controls.iter().map(|h| asked(h, Role::Control)));
        hosts.push(asked(&online.portal, Role::Portal));
        hosts.push(asked(&online.nowhere, Role::Nowhere));
        Self { hosts }
    }

    /// What is said before the first packet.
    #[must_use]
    pub fn notice(&self) -> String {
        format!("Asking over the network: {}", self.contacts())
    }

    /// The hosts, and what they are sent.
    #[must_use]
    pub fn contacts(&self) -> String {
        let hosts: Vec<&str> = self.hosts.iter().map(|a| a.host.as_str()).collect();
        let known = Markets::known();
        format!("{} (list of {}). No account and no cookies are sent.", hosts.join(", "), known.checked)
    }
}
