//! Where a test can make the disk fail. Every operation of this room that
//! changes a disk passes [`point`] first; outside unit tests it is nothing.

#[cfg(not(test))]
#[inline]
pub(super) fn point(_what: &'static str) -> std::io::Result<()> {
    Ok(())
}

/// Whether this process was told to do one thing in a deliberately wrong order.
/// The sweep of faults must notice each of them. Only a build with the feature
/// `wrong-order` can be told, by the variable `SHOPMEND_WRONG_ORDER`.
#[cfg(feature = "wrong-order")]
pub(crate) fn wrong_order(which: WrongOrder) -> bool {
    use std::sync::OnceLock;
    static TOLD: OnceLock<Option<std::ffi::OsString>> = OnceLock::new();
    let told = TOLD.get_or_init(|| std::env::var_os("SHOPMEND_WRONG_ORDER"));
    told.as_ref().is_some_and(|told| told == which.name())
}

#[cfg(not(feature = "wrong-order"))]
#[inline]
pub(crate) fn wrong_order(_which: WrongOrder) -> bool {
    false
}

/// See [`wrong_order`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum WrongOrder {
    /// Names are never made durable.
    FoldersUnsynced,
    /// Originals go before the copies of them are durable.
    CopiesUnsynced,
    /// A new database takes its place while the old log is still there.
    SwapFirst,
}

#[cfg(feature = "wrong-order")]
impl WrongOrder {
    fn name(self) -> &'static str {
        match self {
            Self::FoldersUnsynced => "folders-unsynced",
            Self::CopiesUnsynced => "copies-unsynced",
            Self::SwapFirst => "swap-first",
        }
    }
}

#[cfg(test)]
pub(super) use inject::point;
#[cfg(test)]
pub(crate) use inject::{Fault, count, with};

#[cfg(test)]
mod inject {
    use std::cell::RefCell;
    use std::io;

    /// When operations fail, counted from 1 since [`with`] began.
    #[derive(Debug, Clone, Copy)]
    pub(crate) enum Fault {
        /// Only the n-th, with this error number.
        Once(usize, i32),
        /// The n-th and all after it, as if the process had been killed.
        From(usize),
        /// None; counts them.
        Never,
    }

    struct State {
        fault: Fault,
        seen: usize,
    }

    thread_local! {
        static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
    }

    /// Runs `work` on this thread with faults; ends them whatever happens.
    pub(crate) fn with<T>(fault: Fault, work: impl FnOnce() -> T) -> T {
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                STATE.with_borrow_mut(|s| *s = None);
            }
        }
        STATE.with_borrow_mut(|s| *s = Some(State { fault, seen: 0 }));
        let _reset = Reset;
        work()
    }

    /// How many operations there were since [`with`] began.
    pub(crate) fn count() -> usize {
        STATE.with_borrow(|s| s.as_ref().map_or(0, |s| s.seen))
    }

    pub(in crate::fsys) fn point(what: &'static str) -> io::Result<()> {
        STATE.with_borrow_mut(|s| {
            let Some(s) = s else { return Ok(()) };
            s.seen += 1;
            match s.fault {
                Fault::Once(n, errno) if n == s.seen => Err(io::Error::from_raw_os_error(errno)),
                Fault::From(n) if s.seen >= n => Err(io::Error::other(format!("stopped at {what}"))),
                _ => Ok(()),
            }
        })
    }
}
