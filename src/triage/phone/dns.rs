//! `dumpsys dnsresolver`: how the resolvers of the networks do.

use super::said::{Answers, MAX_LINES};
use crate::triage::evidence::Seen;

/// How the resolvers of all networks answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolvers {
    pub servers: u32,
    /// Those that the phone itself calls broken.
    pub broken: u32,
    pub questions: u64,
    pub answered: u64,
}

pub(super) fn read(answers: &Answers) -> Seen<Resolvers> {
    let text = answers.text("dnsresolver", &["Private DNS mode:", "NetId:"])?;
    let mut out = Resolvers::default();
    for line in text.lines().take(MAX_LINES) {
        // `10.0.0.1 (23, 20, 1, 2, 0, 31ms, 5s) BROKEN`: all, answered, errors, timeouts, ...
        let Some((address, rest)) = line.trim().split_once(" (") else { continue };
        let is_address = address.contains(['.', ':'])
            && address.chars().all(|c| c.is_ascii_hexdigit() || ".:%".contains(c));
        let Some((numbers, after)) = rest.split_once(')').filter(|_| is_address) else { continue };
        let mut numbers = numbers.split(',').map(|n| n.trim().parse::<u64>());
        let (Some(Ok(all)), Some(Ok(answered))) = (numbers.next(), numbers.next()) else { continue };
        out.servers += 1;
        out.broken += u32::from(after.contains("BROKEN"));
        out.questions = out.questions.saturating_add(all);
        out.answered = out.answered.saturating_add(answered.min(all));
    }
    Ok(out)
}
