//! Do the device's country and the account's agree?

use std::collections::BTreeSet;

use crate::triage::answer::{Page, Statement};
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;
use crate::triage::markets::Markets;

/// What the device says of its country. The account's market decides, and no
/// device knows it.
pub(in crate::triage) struct Region;

/// What a device shows of its country.
#[derive(Debug, Default)]
struct Signs {
    sims: Vec<String>,
    networks: Vec<String>,
    zone: Option<String>,
    locale: Option<String>,
}

impl Check for Region {
    fn id(&self) -> &'static str {
        "region"
    }

    fn cause(&self) -> Cause {
        Cause::Region
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let known = Markets::known();
        let of_zone = |zone: &Option<String>| zone.as_ref().and_then(|z| known.of_zone(z)).map(str::to_owned);
        let signs = if let Some(phone) = &evidence.phone {
            match &phone.properties {
                Ok(p) => Signs {
                    sims: p.sims.clone(),
                    networks: p.networks.clone(),
                    zone: of_zone(&p.zone),
                    locale: p.locale.clone(),
                },
                Err(why) => return vec![Statement::unseen("region", "the phone's country", why.why())],
            }
        } else if let Some(machine) = &evidence.machine {
            Signs {
                zone: of_zone(&machine.system.zone),
                locale: machine.system.locale.clone(),
                ..Signs::default()
            }
        } else {
            return Vec::new();
        };
        vec![judge(&signs, evidence.region.as_deref())]
    }
}

fn judge(signs: &Signs, wanted: Option<&str>) -> Statement {
    let shown = signs.shown();
    let hint = |code, brief: &str, says: String| {
        Statement::hint(code, brief, says)
            .next("the account's market decides: compare with Seller Center > My account; without VPN and roaming")
            .on(Page::Date)
            .seen_in(shown.clone())
    };
    if let Some(wanted) = wanted {
        // Locale is ignored: en-US is the default on devices everywhere.
        let other: BTreeSet<&str> = signs.firm().filter(|c| *c != wanted).collect();
        if !other.is_empty() {
            let other: Vec<&str> = other.into_iter().collect();
            let says = format!(
                "The account is said to be of {wanted}, and the device is set up for {}.",
                other.join(", ")
            );
            return hint("region.differs", "the device is set up for another country", says);
        }
    }
    let roams = !signs.sims.is_empty()
        && !signs.networks.is_empty()
        && signs.networks.iter().all(|n| !signs.sims.contains(n));
    if roams {
        let says = format!(
            "The SIM card is of {}, and the mobile network of {}: the phone is abroad, or roams.",
            signs.sims.join(", "),
            signs.networks.join(", ")
        );
        return hint("region.roaming", "SIM card and network are of two countries", says);
    }
    if let Some(zone) = &signs.zone
        && !signs.sims.is_empty()
        && !signs.sims.contains(zone)
    {
        let says =
            format!("The SIM card is of {}, and the time zone is one of {zone}.", signs.sims.join(", "));
        return hint("region.zone", "SIM card and time zone are of two countries", says);
    }
    if signs.firm().next().is_none() {
        let why = "neither SIM card nor time zone tells a market of the shop";
        return Statement::unseen("region", "the device's country", why);
    }
    Statement::nothing("region", shown)
}

impl Signs {
    /// What does not change by itself with a taste.
    fn firm(&self) -> impl Iterator<Item = &str> {
        self.sims.iter().chain(&self.networks).chain(&self.zone).map(String::as_str)
    }

    fn shown(&self) -> String {
        let list = |of: &[String]| of.join(", ");
        let mut out = Vec::new();
        for (what, value) in [("SIM", list(&self.sims)), ("network", list(&self.networks))] {
            out.extend((!value.is_empty()).then(|| format!("{what} {value}")));
        }
        out.extend(self.zone.as_ref().map(|z| format!("time zone {z}")));
        out.extend(self.locale.as_ref().map(|l| format!("language {l}")));
        out.join(", ")
    }
}
