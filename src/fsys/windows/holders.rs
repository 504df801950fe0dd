//! Which programs have a file open, by Windows' Restart Manager.
#![allow(unsafe_code)]

use std::os::windows::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr::{null, null_mut};

use windows_sys::Win32::System::RestartManager as rm;

/// More programs than ever have one file open.
const MOST: usize = 16;

/// Those that have one of the files open, by process id, with the name that
/// Windows shows for each. Empty also where Windows cannot tell.
pub(in crate::fsys) fn holders(files: &[&Path]) -> Vec<(u32, String)> {
    let names: Vec<Vec<u16>> =
        files.iter().map(|f| f.as_os_str().encode_wide().chain([0]).collect()).collect();
    let pointers: Vec<*const u16> = names.iter().map(|n| n.as_ptr()).collect();
    let mut session = 0;
    let mut key = [0u16; rm::CCH_RM_SESSION_KEY as usize + 1];
    // SAFETY: the pointers are to local variables; the key has the documented length.
    if unsafe { rm::RmStartSession(&raw mut session, 0, key.as_mut_ptr()) } != 0 {
        return Vec::new();
    }
    let mut found = [rm::RM_PROCESS_INFO::default(); MOST];
    let (mut needed, mut count, mut reasons) = (0, MOST as u32, 0);
    // SAFETY: the session is open; the names end with a zero and live until
    // the calls return; `found` has room for `count`.
    let told = unsafe {
        rm::RmRegisterResources(session, pointers.len() as u32, pointers.as_ptr(), 0, null(), 0, null_mut())
            == 0
            && rm::RmGetList(session, &raw mut needed, &raw mut count, found.as_mut_ptr(), &raw mut reasons)
                == 0
    };
    // SAFETY: the session is open.
    unsafe { rm::RmEndSession(session) };
    if !told {
        return Vec::new();
    }
    found
        .iter()
        .take(count as usize)
        .map(|p| {
            let end = p.strAppName.iter().position(|c| *c == 0).unwrap_or(p.strAppName.len());
            let name = String::from_utf16_lossy(p.strAppName.get(..end).unwrap_or_default());
            (p.Process.dwProcessId, name)
        })
        .collect()
}
