//! The exit codes, one enum; the README's table is checked against it.

/// How a run ended. The worst wins when several things happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Everything known was looked at and is sound; after a repair: is now.
    Ok = 0,
    /// Findings exist (scan, check, triage).
    Findings = 1,
    /// Nothing wrong was found, but something was not looked at or could not
    /// be judged.
    Incomplete = 2,
    /// A repair, undo or salvage ended with something left: damaged or
    /// unreadable stores, rows or entries lost or doubtful, actions skipped.
    Left = 3,
    /// Some repair failed and was rolled back.
    RolledBack = 4,
    /// Failed; the journal is kept and the manual command printed.
    Failed = 5,
    /// Another run holds the lock.
    Locked = 10,
    /// The app is running.
    AppRunning = 11,
    /// The device is absent or unauthorised.
    Device = 12,
    /// A profile or the configuration is invalid.
    Profile = 13,
    /// The command line is wrong.
    Usage = 64,
    /// Interrupted by a signal or a closed pipe.
    Interrupted = 130,
}

impl Exit {
    /// Every code, in the order of the README's table.
    pub const ALL: [Self; 12] = [
        Self::Ok,
        Self::Findings,
        Self::Incomplete,
        Self::Left,
        Self::RolledBack,
        Self::Failed,
        Self::Locked,
        Self::AppRunning,
        Self::Device,
        Self::Profile,
        Self::Usage,
        Self::Interrupted,
    ];

    /// The number the shell sees.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What the README says of it.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "everything known was looked at and is sound (after a repair: is now)",
            Self::Findings => "findings exist (scan, check, triage)",
            Self::Incomplete => {
                "nothing wrong was found, but something was not looked at or could not be judged"
            }
            Self::Left => {
                "something is left: stores damaged or unreadable, rows or entries lost or doubtful, actions skipped"
            }
            Self::RolledBack => "some repair failed and was rolled back; or nothing could be salvaged",
            Self::Failed => "failed; the journal is kept and the manual command printed",
            Self::Locked => "another run holds the lock",
            Self::AppRunning => "the app is running, or it cannot be told",
            Self::Device => "device absent or unauthorised",
            Self::Profile => "profile or configuration invalid",
            Self::Usage => "wrong command line",
            Self::Interrupted => "interrupted",
        }
    }

    /// How bad it is, for [`Exit::worst`]: a failed repair outranks a refusal,
    /// an interruption outranks what it interrupted.
    fn rank(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Incomplete => 1,
            Self::Findings => 2,
            Self::Left => 3,
            Self::AppRunning => 4,
            Self::Device => 5,
            Self::Locked => 6,
            Self::Profile => 7,
            Self::Usage => 8,
            Self::RolledBack => 9,
            Self::Interrupted => 10,
            Self::Failed => 11,
        }
    }

    /// The worse of two endings.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        if other.rank() > self.rank() { other } else { self }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_wins_whatever_the_order() {
        for a in Exit::ALL {
            for b in Exit::ALL {
                assert_eq!(a.worst(b), b.worst(a));
            }
        }
        assert_eq!(Exit::Left.worst(Exit::Failed), Exit::Failed);
        assert_eq!(Exit::Ok.worst(Exit::Incomplete), Exit::Incomplete);
        assert_eq!(Exit::Incomplete.worst(Exit::Findings), Exit::Findings);
        assert_eq!(Exit::Findings.worst(Exit::Left), Exit::Left);
    }
}
