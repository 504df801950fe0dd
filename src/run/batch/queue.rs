//! Who is next: the devices that wait for a turn, and those that are plugged
//! in later.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Batch, TICK};
use crate::error::Result;
use crate::place::adb::Attached;

impl Batch<'_> {
    /// Gives every device its turn; `false` when a request to stop kept some
    /// from it, or ended the wait for more.
    pub(super) fn run(&self) -> Result<bool> {
        let jobs = self.wanted.jobs.unwrap_or(8).clamp(1, 64);
        let mut waiting: Vec<Attached> = Vec::new();
        let mut seen: BTreeMap<String, bool> = BTreeMap::new();
        let mut news = |all: Vec<Attached>, waiting: &mut Vec<Attached>| {
            let mut any = false;
            // One that is plugged in again gets another turn, as one that was
            // not ready and is now.
            seen.retain(|serial, _| all.iter().any(|a| a.serial == *serial));
            for adb in all.into_iter().filter(|a| self.is_wanted(a)) {
                let before = seen.insert(adb.serial.clone(), adb.is_ready());
                if before.is_none() || (before == Some(false) && adb.is_ready()) {
                    waiting.push(adb);
                    any = true;
                }
            }
            any
        };
        news(self.server.devices()?, &mut waiting);
        let mut tracker = self.wanted.wait.map(|_| self.server.track()).transpose()?;
        let mut last = Instant::now();
        let mut whole = true;
        std::thread::scope(|scope| {
            let mut working = Vec::new();
            loop {
                let before = working.len();
                working.retain(|w: &std::thread::ScopedJoinHandle<'_, ()>| !w.is_finished());
                if working.len() != before {
                    last = Instant::now();
                }
                let stopped = self.session.control.is_cancelled();
                if stopped {
                    whole &= waiting.is_empty() && tracker.is_none();
                    waiting.clear();
                }
                while working.len() < jobs && !waiting.is_empty() {
                    let adb = waiting.remove(0);
                    working.push(scope.spawn(move || self.one(&adb)));
                }
                let idle = working.is_empty() && waiting.is_empty();
                match (&mut tracker, self.wanted.wait) {
                    (Some(follow), Some(wait)) if !stopped => {
                        match follow.next(TICK * 5) {
                            Ok(Some(all)) => {
                                if news(all, &mut waiting) {
                                    last = Instant::now();
                                }
                            }
                            Ok(None) => {}
                            // The server went away: what is attached is done.
                            Err(_) => tracker = None,
                        }
                        if idle && last.elapsed() >= Duration::from_secs(wait) {
                            break;
                        }
                    }
                    _ if idle => break,
                    _ => std::thread::sleep(TICK),
                }
            }
        });
        Ok(whole)
    }
}
