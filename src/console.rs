//! What reaches the terminal: output, progress on stderr, and a question.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::{Color, Global};
use crate::control::Progress;
use crate::error::{Error, Kind, Result};
use crate::report::Style;

/// The terminal as the run sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Console {
    pub(crate) style: Style,
    /// Both input and output are a terminal: a question makes sense.
    pub(crate) interactive: bool,
}

impl Console {
    /// Looks at the terminal and the options.
    #[must_use]
    pub(crate) fn new(global: &Global) -> Self {
        let out = std::io::stdout().is_terminal();
        // Older consoles of Windows show colours only when asked to.
        #[cfg(windows)]
        let capable = anstyle_query::windows::enable_ansi_colors().unwrap_or(false);
        #[cfg(not(windows))]
        let capable = true;
        let color = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => out && capable && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        Self {
            style: Style { color, verbose: global.verbose > 0, quiet: global.quiet },
            interactive: out && std::io::stdin().is_terminal(),
        }
    }

    /// Prints to standard output. A closed pipe ends the run as an interruption.
    ///
    /// # Errors
    /// When it cannot be written.
    #[allow(clippy::unused_self)] // who prints has a terminal
    pub(crate) fn print(self, text: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| {
            let kind = if e.kind() == std::io::ErrorKind::BrokenPipe { Kind::Interrupted } else { Kind::Io };
            Error::new(kind, "the output could not be written").because(e)
        })
    }

    /// Prints a line unless `-q` was given.
    ///
    /// # Errors
    /// As [`Console::print`].
    pub(crate) fn say(self, line: &str) -> Result<()> {
        if self.style.quiet { Ok(()) } else { self.print(&format!("{line}\n")) }
    }

    /// Asks for one line; `None` at the end of input.
    ///
    /// # Errors
    /// When the terminal cannot be read.
    pub(crate) fn ask(self, question: &str) -> Result<Option<String>> {
        self.print(question)?;
        let mut line = String::new();
        let read = std::io::stdin()
            .lock()
            .read_line(&mut line)
            .map_err(|e| Error::new(Kind::Io, "the answer could not be read").because(e))?;
        Ok((read > 0).then(|| line.trim().to_owned()))
    }

    /// Progress for this terminal: bars on stderr when that is a terminal.
    #[must_use]
    pub(crate) fn progress(self) -> Arc<Bars> {
        let hidden = self.style.quiet || !std::io::stderr().is_terminal();
        Arc::new(Bars { hidden, bar: Mutex::new(None) })
    }
}

/// One bar for the stage at hand; gone when the next begins.
#[derive(Debug)]
pub(crate) struct Bars {
    hidden: bool,
    bar: Mutex<Option<ProgressBar>>,
}

impl Bars {
    /// Removes the bar, so that output can follow.
    pub(crate) fn clear(&self) {
        if let Ok(mut bar) = self.bar.lock()
            && let Some(bar) = bar.take()
        {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Bars {
    fn stage(&self, name: &str, total: u64) {
        self.clear();
        if self.hidden {
            return;
        }
        let target = ProgressDrawTarget::stderr_with_hz(10);
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let template = match (total, name) {
            (0, _) => "{prefix} {spinner} {wide_msg}",
            (_, "Reading" | "Backing up") => "{prefix:12} [{bar:24}] {bytes}/{total_bytes} {wide_msg}",
            _ => "{prefix:12} [{bar:24}] {pos}/{len} {wide_msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        if let Ok(mut slot) = self.bar.lock() {
            *slot = Some(bar);
        }
    }

    fn advance(&self, by: u64) {
        if self.hidden {
            return;
        }
        if let Ok(bar) = self.bar.lock()
            && let Some(bar) = bar.as_ref()
        {
            bar.inc(by);
        }
    }

    fn item(&self, name: &str) {
        if self.hidden {
            return;
        }
        if let Ok(bar) = self.bar.lock()
            && let Some(bar) = bar.as_ref()
        {
            bar.set_message(name.to_owned());
        }
    }
}
