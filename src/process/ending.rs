//! Asking a program to end, in the way of its system.

use std::process::{Child, Command};

use sysinfo::{Pid, System};

/// Has a program that will be started listen to [`ask_child`] alone.
#[cfg(unix)]
pub(crate) fn will_be_asked(_command: &mut Command) {}

/// Has a program that will be started listen to [`ask_child`] alone: what asks
/// it goes to a whole group of programs, and so it gets one of its own.
#[cfg(windows)]
pub(crate) fn will_be_asked(command: &mut Command) {
    use windows_sys::Win32::System::Threading::CREATE_NEW_PROCESS_GROUP;
    std::os::windows::process::CommandExt::creation_flags(command, CREATE_NEW_PROCESS_GROUP);
}

/// Asks a program that this one started to stop at a safe point.
#[cfg(unix)]
pub(crate) fn ask_child(child: &Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // It may have ended just now.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// Asks a program that this one started to stop at a safe point.
#[cfg(windows)]
#[allow(unsafe_code)]
pub(crate) fn ask_child(child: &Child) {
    use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, GenerateConsoleCtrlEvent};
    // SAFETY: two numbers; a group that is gone already is an error, which
    // changes nothing.
    let _ = unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, child.id()) };
}

/// Asks an app to end, as closing it would.
#[cfg(unix)]
pub(super) fn ask(system: &System, pid: Pid) {
    if let Some(process) = system.process(pid) {
        process.kill_with(sysinfo::Signal::Term);
    }
}

/// Asks an app to end, as closing its windows would: without `/F`, Windows'
/// own `taskkill` does no more than that.
#[cfg(windows)]
pub(super) fn ask(_system: &System, pid: Pid) {
    use std::process::Stdio;
    let Some(folder) = std::env::var_os("SystemRoot").map(std::path::PathBuf::from) else { return };
    let program = folder.join(r"System32\taskkill.exe");
    let mut command = Command::new(program);
    command.args(["/PID", &pid.as_u32().to_string()]);
    // Whether it heard is seen by whether it ends.
    let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}
