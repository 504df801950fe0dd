//! Does the hosts file send the shop's hosts elsewhere?

use std::collections::BTreeSet;

use crate::model::Platform;
use crate::triage::answer::Statement;
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::{Evidence, Unseen};
use crate::triage::machine::Entry;

/// Lines of the hosts file about the shop's hosts. It is never edited.
pub(in crate::triage) struct Hosts;

/// How many lines are named.
const NAMED: usize = 5;

impl Check for Hosts {
    fn id(&self) -> &'static str {
        "dns.hosts-file"
    }

    fn cause(&self) -> Cause {
        Cause::Connectivity
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let Some(machine) = &evidence.machine else { return Vec::new() };
        match &machine.hosts {
            Ok(entries) if entries.is_empty() => {
                vec![Statement::nothing("dns.hosts-file", "hosts file")]
            }
            Ok(entries) => vec![found(entries, machine.platform)],
            // Without a hosts file nothing is redirected.
            Err(Unseen::Absent) => vec![Statement::nothing("dns.hosts-file", "hosts file")],
            Err(why) => vec![Statement::unseen("dns.hosts-file", "the hosts file", why.why())],
        }
    }
}

fn found(entries: &[Entry], platform: Platform) -> Statement {
    let blocked = entries.iter().any(|e| e.blocked);
    let numbers: Vec<String> = entries.iter().take(NAMED).map(|e| e.line.to_string()).collect();
    let more =
        if entries.len() > NAMED { format!(" and {} more", entries.len() - NAMED) } else { String::new() };
    let lines = if entries.len() == 1 { "line" } else { "lines" };
    let what = if blocked { "blocks" } else { "redirects" };
    let suffixes: BTreeSet<&str> = entries.iter().map(|e| e.suffix.as_str()).collect();
    let suffixes: Vec<&str> = suffixes.into_iter().take(3).collect();
    let file =
        if platform == Platform::Windows { r"Windows\System32\drivers\etc\hosts" } else { "/etc/hosts" };
    let says = format!(
        "The hosts file {what} hosts of the shop ({}): {lines} {}{more}.",
        suffixes.join(", "),
        numbers.join(", ")
    );
    let (code, brief) = if blocked {
        ("dns.hosts-file-blocks", "the hosts file blocks the shop")
    } else {
        ("dns.hosts-file-redirects", "the hosts file redirects the shop")
    };
    Statement::found(code, brief, says)
        .next(format!("remove these lines from {file} as an administrator; shopmend never edits it"))
        .seen_in(format!("{file}, {} about the shop's hosts", entries.len()))
}
