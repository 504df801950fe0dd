//! Questions that a device answers by itself, without root: each is a command
//! of its own, with a limit of time and of size, and several run at once.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::device::Device;
use super::server::Server;
use super::shell::{self, Input, Output, Ran};

/// A question: a command that reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What the answer is called.
    pub name: String,
    /// The command, as the device's shell takes it.
    pub command: String,
    /// The bytes at which the answer is cut.
    pub most: usize,
}

/// How long one answer may take; the services themselves give up earlier.
const LIMIT: Duration = Duration::from_secs(6);
/// How many questions are open at once.
const AT_ONCE: usize = 6;
/// Number of timeouts after which the remaining questions are skipped: the device
/// hangs, and waiting for each would take minutes.
const PATIENCE: usize = 4;
/// The code of a command that was ended for its time, as `timeout` gives it.
const LATE: u8 = 124;

impl Device {
    /// Asks every question once and returns the answers by name. A question that
    /// times out has the exit code of a terminated command.
    #[must_use]
    pub fn ask(&self, questions: &[Question]) -> BTreeMap<String, Output> {
        let server = self.server.hurried(LIMIT);
        let (next, late) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let all = Mutex::new(BTreeMap::new());
        let work = || {
            while let Some(question) = questions.get(next.fetch_add(1, Ordering::Relaxed)) {
                let said = if late.load(Ordering::Relaxed) < PATIENCE {
                    one(&server, &self.adb.serial, question)
                } else {
                    ended(Vec::new())
                };
                if said.ran.code == LATE {
                    late.fetch_add(1, Ordering::Relaxed);
                }
                all.lock().unwrap_or_else(PoisonError::into_inner).insert(question.name.clone(), said);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(questions.len()) {
                scope.spawn(work);
            }
        });
        all.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks one question and returns this computer's times before and after it.
    #[must_use]
    pub fn ask_timed(&self, question: &Question) -> (Output, Instant, Instant) {
        let before = Instant::now();
        let said = one(&self.server, &self.adb.serial, question);
        (said, before, Instant::now())
    }
}

fn ended(stdout: Vec<u8>) -> Output {
    Output { ran: Ran { code: LATE, stderr: Vec::new() }, stdout }
}

/// One answer. What comes after `most` bytes is not waited for.
fn one(server: &Server, serial: &str, question: &Question) -> Output {
    let mut stdout = Vec::new();
    let mut full = false;
    let mut sink = |part: &[u8]| {
        let room = question.most.saturating_sub(stdout.len());
        stdout.extend(part.iter().take(room));
        full = stdout.len() >= question.most;
        if full { Err(io::Error::other("the answer is long enough")) } else { Ok(()) }
    };
    let command = question.command.as_bytes();
    let ran = shell::run(server, serial, command, Input::Nothing, &mut sink, LIMIT);
    match ran {
        Ok(ran) => Output { ran, stdout },
        Err(_) if full => Output { ran: Ran { code: 0, stderr: Vec::new() }, stdout },
        Err(_) => ended(stdout),
    }
}
