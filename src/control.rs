//! What a long-running stage needs from the outside: whether to stop, and
//! whom to tell how far it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The run was asked to stop (Ctrl-C, SIGTERM, a closed pipe).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Cancelled;

/// Receives progress; every call must be cheap.
pub trait Progress: Send + Sync {
    /// A stage began; `total` in the unit of its `advance` calls, 0 if unknown.
    fn stage(&self, name: &str, total: u64);
    /// That much more is done.
    fn advance(&self, by: u64);
    /// What is being worked on.
    fn item(&self, name: &str);
}

/// Tells nobody.
#[derive(Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn stage(&self, _name: &str, _total: u64) {}
    fn advance(&self, _by: u64) {}
    fn item(&self, _name: &str) {}
}

/// Cancellation and progress, cheap to clone and to share between threads.
#[derive(Clone)]
pub struct Control {
    cancelled: Arc<AtomicBool>,
    progress: Arc<dyn Progress>,
}

impl Default for Control {
    fn default() -> Self {
        Self::new(Arc::new(Silent))
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

impl Control {
    /// A control that nothing has cancelled yet.
    pub fn new(progress: Arc<dyn Progress>) -> Self {
        Self { cancelled: Arc::default(), progress }
    }

    /// Asks the run to stop at its next safe point.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }

    /// Whether the run was asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// A safe point: an error when the run was asked to stop.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn safe_point(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Where progress goes.
    #[must_use]
    pub fn progress(&self) -> &dyn Progress {
        self.progress.as_ref()
    }
}
