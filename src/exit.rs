//! The exit codes, one enum; the README's table is checked against it.

/// How a run ended. The worst wins when several things happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Healthy, or repaired and verified.
    Ok = 0,
    /// Findings exist (scan, check).
    Findings = 1,
    /// Repaired, some things skipped.
    Skipped = 3,
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
    pub const ALL: [Self; 11] = [
        Self::Ok,
        Self::Findings,
        Self::Skipped,
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
            Self::Ok => "healthy, or repaired and verified",
            Self::Findings => "findings exist (scan, check)",
            Self::Skipped => "repaired, some things skipped; or salvaged with rows lost or doubtful",
            Self::RolledBack => "some repair failed and was rolled back; or nothing could be salvaged",
            Self::Failed => "failed; the journal is kept and the manual command printed",
            Self::Locked => "another run holds the lock",
            Self::AppRunning => "the app is running",
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
            Self::Findings => 1,
            Self::Skipped => 2,
            Self::AppRunning => 3,
            Self::Device => 4,
            Self::Locked => 5,
            Self::Profile => 6,
            Self::Usage => 7,
            Self::RolledBack => 8,
            Self::Interrupted => 9,
            Self::Failed => 10,
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
        assert_eq!(Exit::Skipped.worst(Exit::Failed), Exit::Failed);
        assert_eq!(Exit::Ok.worst(Exit::Findings), Exit::Findings);
    }
}
