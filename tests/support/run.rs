//! Runs the built program as a person would, in a home and with a state folder
//! of its own, and with nothing else in its environment.
#![allow(dead_code, unreachable_pub)]

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use shopmend::exit::Exit;

/// Where and how the program runs; one value serves several calls, so that
/// `scan`, `repair` and `undo` share their state.
pub struct Run {
    tmp: tempfile::TempDir,
    home: PathBuf,
    state: PathBuf,
    env: Vec<(OsString, Option<OsString>)>,
    stdin: Vec<u8>,
}

impl Run {
    /// An empty home and an empty state folder.
    pub fn new() -> Self {
        let tmp = tempfile::Builder::new().prefix("shopmend-run-").tempdir().unwrap();
        let base = shopmend::fsys::real_path(tmp.path()).unwrap();
        let (home, state) = (base.join("home"), base.join("state"));
        std::fs::create_dir(&home).unwrap();
        Self { tmp, home, state, env: Vec::new(), stdin: Vec::new() }
    }

    /// Runs with that home instead.
    #[must_use]
    pub fn home(mut self, home: impl Into<PathBuf>) -> Self {
        self.home = home.into();
        self
    }

    /// Keeps the state there instead.
    #[must_use]
    pub fn state(mut self, state: impl Into<PathBuf>) -> Self {
        self.state = state.into();
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Leaves a variable out, for example `HOME`.
    #[must_use]
    pub fn without_env(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), None));
        self
    }

    /// What a person types; without it the input is empty.
    #[must_use]
    pub fn stdin(mut self, text: impl AsRef<[u8]>) -> Self {
        self.stdin = text.as_ref().to_vec();
        self
    }

    /// The home it runs in.
    pub fn home_path(&self) -> &Path {
        &self.home
    }

    /// Where it keeps vault, journal and baseline.
    pub fn state_path(&self) -> &Path {
        &self.state
    }

    /// The command, ready to start; for a test that signals or injects faults.
    pub fn command<I, S>(&self, args: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shopmend"));
        self.at_home(&mut command);
        command.current_dir(self.tmp.path()).arg("--state-dir").arg(&self.state).args(args);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Leaves a command little more than the home in its environment.
    pub fn at_home(&self, command: &mut Command) {
        command.env_clear().env("HOME", &self.home);
        if cfg!(windows) {
            // The same folders of the home as on Linux, so that one tree serves both.
            command.env("USERPROFILE", &self.home);
            command.env("LOCALAPPDATA", self.home.join(".cache")).env("APPDATA", self.home.join(".config"));
            for name in ["SystemRoot", "SystemDrive", "TEMP", "TMP"] {
                command.env(name, std::env::var_os(name).unwrap_or_default());
            }
        }
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn call<I, S>(&self, args: I) -> Outcome
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.command(args);
        let said = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
        let mut child = command.spawn().unwrap();
        // The program may end without reading what is typed.
        let _ = child.stdin.take().unwrap().write_all(&self.stdin);
        let out = child.wait_with_output().unwrap();
        Outcome {
            said,
            code: out.status.code(),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        }
    }
}

impl Default for Run {
    fn default() -> Self {
        Self::new()
    }
}

/// How a run ended and what it said.
#[derive(Debug)]
pub struct Outcome {
    said: String,
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Fails the test, with all that the run said, unless it ended so.
    #[track_caller]
    pub fn expect(self, exit: Exit) -> Self {
        self.expect_one_of(&[exit])
    }

    /// Like [`Outcome::expect`], where it may end in several ways.
    #[track_caller]
    pub fn expect_one_of(self, exits: &[Exit]) -> Self {
        let codes = exits.iter().map(|e| Some(i32::from(e.code())));
        assert!(codes.into_iter().any(|code| code == self.code), "expected one of {exits:?}, got {self}");
        self
    }

    /// The JSON document on standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("not JSON ({e}): {self}"))
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { said, code, stdout, stderr } = self;
        write!(f, "exit {code:?} of shopmend {said}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}
