//! A real terminal, that of tmux.

use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// How long a command may take, questions included.
const PATIENCE: Duration = Duration::from_mins(5);

/// What a terminal of that many columns shows when a command has ended, its
/// wrapped lines joined again. To each question, named by a part of its text,
/// an answer is typed.
pub(crate) fn screen_after(command: &Command, columns: u32, answers: &[(&str, &str)]) -> String {
    let shell = tempfile::tempdir().unwrap();
    let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().unwrap().replace('\'', "'\\''"));
    let env = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_str().unwrap(), quoted(value?))));
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted);
    let line = std::iter::once("env -i TERM=screen".to_owned()).chain(env).chain(words);
    let script = shell.path().join("script");
    let done = shell.path().join("done");
    let text = format!("{}\necho > {}\nsleep 600\n", line.collect::<Vec<_>>().join(" "), done.display());
    fs::write(&script, text).unwrap();
    let tmux = |arguments: &[&str]| -> Output {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(shell.path().join("socket")).args(["-f", "/dev/null"]).args(arguments);
        tmux.output().unwrap()
    };
    let screen = || {
        let screen = tmux(&["capture-pane", "-p", "-J", "-S", "-2000"]);
        String::from_utf8_lossy(&screen.stdout).into_owned()
    };
    let size = columns.to_string();
    let started = tmux(&["new-session", "-d", "-x", &size, "-y", "24", &format!("sh {}", script.display())]);
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let end = Instant::now() + PATIENCE;
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        while !holds() {
            assert!(Instant::now() < end, "{what}:\n{}", screen());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let mut asked = 0;
    for (question, answer) in answers {
        // The same question may come again.
        until(question, &|| screen().matches(question).count() > asked || done.exists());
        asked = screen().matches(question).count();
        tmux(&["send-keys", answer, "Enter"]);
    }
    until("the command did not end", &|| done.exists());
    let shown = screen();
    tmux(&["kill-server"]);
    shown
}
