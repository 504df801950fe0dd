//! What the network answers, with `--online` alone: nothing else in this
//! program sends a packet, and whom it asks is said before the first one.
//!
//! Each host is asked in the order in which a connection is made (name, address,
//! certificate, answer), and the first thing that fails is what is told.

mod ask;
mod plan;

use std::net::IpAddr;

pub use ask::ask;
pub use plan::{Asked, Plan, Role};

/// How far a host could be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It answered.
    Reached {
        /// The status of HTTP.
        status: u16,
        /// How far this computer's clock is ahead of its date, in seconds.
        ahead: Option<i64>,
    },
    /// Its name was found, which is all that was asked.
    Named,
    /// Its name was not found.
    NoName,
    /// The resolver did not answer.
    NoResolver,
    /// Its name leads to an address of no host on the internet.
    WrongAddress,
    /// Nobody answers at its address, or the connection is ended.
    NoConnection,
    /// Its certificate is of somebody whom this system does not trust.
    UntrustedCertificate,
    /// Its certificate is not valid now.
    ExpiredCertificate,
    /// Its certificate is another host's.
    OtherCertificate,
    /// What came is no answer of HTTP over TLS.
    Garbled,
}

/// What became of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub host: String,
    pub role: Role,
    pub stage: Stage,
}

/// What the network answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Online {
    pub answered: Vec<Answered>,
    /// Whether a proxy was used, so that names were not looked up here.
    pub proxy: bool,
}

impl Online {
    /// What became of the hosts of a kind.
    pub fn of(&self, role: Role) -> impl Iterator<Item = &Answered> {
        self.answered.iter().filter(move |a| a.role == role)
    }
}

impl Stage {
    /// Whether the host itself answered.
    #[must_use]
    pub fn is_reached(self) -> bool {
        matches!(self, Self::Reached { .. })
    }
}

/// Whether an address cannot be that of a host on the internet: a filter or a
/// wrong resolver gives it.
#[must_use]
pub fn leads_nowhere(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => {
            a.is_unspecified() || a.is_loopback() || a.is_private() || a.is_link_local() || a.is_broadcast()
        }
        IpAddr::V6(a) => match a.to_ipv4_mapped() {
            Some(four) => leads_nowhere(IpAddr::V4(four)),
            None => a.is_unspecified() || a.is_loopback() || a.is_unique_local() || a.is_unicast_link_local(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_filters_are_told_from_others() {
        for nowhere in [
            "0.0.0.0",
            "127.0.0.1",
            "10.1.2.3",
            "192.168.1.1",
            "::",
            "::1",
            "::ffff:0.0.0.0",
            "fe80::1",
            "fd00::1",
        ] {
            assert!(leads_nowhere(nowhere.parse().unwrap()), "{nowhere}");
        }
        for host in ["93.184.216.34", "203.0.113.10", "2606:2800:220:1::1"] {
            assert!(!leads_nowhere(host.parse().unwrap()), "{host}");
        }
    }
}
