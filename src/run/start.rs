//! What every run begins with, and how it tells of a failure.

use crate::cli::Global;
use crate::config::Config;
use crate::control::Control;
use crate::error::{Error, Kind, Result};

/// Logging, signals and the configuration.
pub(super) fn prepare(global: &Global, control: &Control) -> Result<Config> {
    start_log(global)?;
    let on_signal = control.clone();
    ctrlc::set_handler(move || on_signal.cancel())
        .map_err(|e| Error::new(Kind::Failed, "signals cannot be caught").because(e))?;
    // Now, where it is an error and not a panic in the middle of the work.
    rayon::ThreadPoolBuilder::new().build_global().map_err(|e| {
        Error::new(Kind::Failed, "the system gives this program no more threads")
            .because(e.to_string())
            .hint("end other programs, or raise the limit of processes (ulimit -u, the cgroup's pids.max)")
    })?;
    Config::load(global.config.as_deref())
}

fn start_log(global: &Global) -> Result<()> {
    let Some(path) = &global.log else { return Ok(()) };
    let file = crate::output::log(path)?;
    let level = if global.verbose > 1 { tracing::Level::TRACE } else { tracing::Level::INFO };
    tracing_subscriber::fmt().json().with_max_level(level).with_writer(std::sync::Mutex::new(file)).init();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), arguments = ?std::env::args_os().collect::<Vec<_>>(), "start");
    Ok(())
}

/// The failure on stderr: what, where, why, and what to do next.
pub(super) fn report_error(e: &Error) {
    tracing::error!(error = %e, "failed");
    // A closed stderr leaves the exit code, which says it as well.
    use std::io::Write as _;
    let mut err = std::io::stderr().lock();
    let _ = writeln!(err, "shopmend: {e}");
    if let Some(hint) = e.hint_text() {
        let _ = writeln!(err, "  {hint}");
    }
}
