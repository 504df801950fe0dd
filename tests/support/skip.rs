//! Tests that need a tool which this machine lacks: said loudly, and a failure
//! where everything must run.
#![allow(dead_code, unreachable_pub)]

use std::io::Write as _;

/// Says that `test` did not run and why. With `SHOPMEND_STRICT=1`, as in
/// continuous integration, that is a failure instead. The line also goes to
/// the file named by `SHOPMEND_SKIP_LOG`, since the test runner hides what a
/// passing test prints.
#[track_caller]
pub fn skipped(test: &str, reason: &str) {
    let strict = std::env::var("SHOPMEND_STRICT").is_ok_and(|v| v == "1");
    assert!(!strict, "{test} could not run: {reason}");
    beyond(test, reason);
}

/// Says that `test` did not run for want of something that cannot be installed,
/// such as a part of the kernel: loud, and no failure anywhere.
pub fn beyond(test: &str, reason: &str) {
    let line = format!("SKIPPED: {test}: {reason}\n");
    eprint!("{line}");
    if let Some(path) = std::env::var_os("SHOPMEND_SKIP_LOG") {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(path);
        log.and_then(|mut f| f.write_all(line.as_bytes())).unwrap();
    }
}

/// Whether a program of that name is in `PATH`.
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
