//! What a long-running call needs from its caller: whether to stop, and whom
//! to tell how far it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The caller asked the call to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Cancelled;

/// The caller's side of a [`Control`]. Every method must be cheap: it is
/// called from several threads, many times a second.
pub trait Observer: Send + Sync {
    /// Whether the caller wants the call to end.
    fn is_cancelled(&self) -> bool {
        false
    }

    /// A stage began; `total` in the unit of the `advance` calls, 0 if unknown.
    fn stage(&self, name: &str, total: u64) {
        let _ = (name, total);
    }

    /// That much more is done.
    fn advance(&self, by: u64) {
        let _ = by;
    }

    /// What is being worked on, by its name in the database.
    fn item(&self, name: &str) {
        let _ = name;
    }
}

/// Asks for nothing and ignores what it is told.
struct Nobody;

impl Observer for Nobody {}

/// Cancellation and progress, cheap to clone and to share between threads.
///
/// ```
/// let control = shopmend_sqlite::Control::default();
/// let other = control.clone();
/// other.cancel();
/// assert!(control.is_cancelled());
/// ```
#[derive(Clone)]
pub struct Control {
    cancelled: Arc<AtomicBool>,
    observer: Arc<dyn Observer>,
}

impl Default for Control {
    fn default() -> Self {
        Self::new(Arc::new(Nobody))
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

impl Control {
    /// A control that asks `observer` whether to stop and tells it the progress.
    pub fn new(observer: Arc<dyn Observer>) -> Self {
        Self { cancelled: Arc::default(), observer }
    }

    /// Asks the call to stop at its next safe point.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }

    /// Whether the call was asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) || self.observer.is_cancelled()
    }

    /// A safe point: an error when the call was asked to stop.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn safe_point(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Where progress goes.
    #[must_use]
    pub fn progress(&self) -> &dyn Observer {
        self.observer.as_ref()
    }
}
