//! Which files programs have open, as `lsof` tells it: macOS has it and no
//! call that any crate offers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The open files of each process whose files can be seen; empty when `lsof`
/// cannot be asked: then nothing may be concluded.
pub(super) fn open_files() -> HashMap<u32, Vec<PathBuf>> {
    // Numbers instead of names of hosts and ports, and no warnings: nothing of
    // this may wait for a network. The file names as they are, in UTF-8.
    let out = Command::new("/usr/sbin/lsof")
        .args(["-n", "-P", "-w", "-F", "pn"])
        .env("LC_ALL", "en_US.UTF-8")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    // It ends with 1 whenever one of thousands of files could not be named.
    out.map(|out| parse(&out.stdout)).unwrap_or_default()
}

/// Takes `lsof -F pn` apart: a line for each field, its letter first, `p` for
/// a process and `n` for a name of one of its files (lsof(8), "Output for
/// other programs"). A process of which no file is named is left out.
fn parse(text: &[u8]) -> HashMap<u32, Vec<PathBuf>> {
    let mut out: HashMap<u32, Vec<PathBuf>> = HashMap::new();
    let mut pid = None;
    for line in text.split(|b| *b == b'\n') {
        match line.split_first() {
            Some((b'p', rest)) => pid = std::str::from_utf8(rest).ok().and_then(|n| n.parse::<u32>().ok()),
            Some((b'n', name)) if name.first() == Some(&b'/') => {
                if let (Some(pid), Some(name)) = (pid, file_name(name)) {
                    out.entry(pid).or_default().push(PathBuf::from(name));
                }
            }
            _ => {}
        }
    }
    out
}

/// A name without what `lsof` makes of bytes that cannot be printed: `\t` and
/// the like, `\x` with two digits, `^` before a letter for a control character.
fn file_name(name: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name.iter().copied();
    while let Some(b) = rest.next() {
        if b != b'\\' {
            out.push(b);
            continue;
        }
        match rest.next()? {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'x' => {
                let digits = [rest.next()?, rest.next()?];
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            other => out.extend([b'\\', other]),
        }
    }
    // Names on macOS are UTF-8.
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn files_are_told_by_process() {
        let text = "p1\nfcwd\nn/\nf3\nn->0x1f2e\np412\nfcwd\nn/Users/ann\nf10\n\
                    n/Users/ann/Library/Application Support/Google/Chrome/Default/Caf\\xc3\\xa9\\n1\n\
                    f11\nnlocalhost:443\np500\nf1\nnpipe\np501x\nn/lost\n";
        let open = parse(text.as_bytes());
        let mut pids: Vec<_> = open.keys().copied().collect();
        pids.sort_unstable();
        assert_eq!(pids, [1, 412], "a process without a named file is none whose files are known");
        let chrome = "/Users/ann/Library/Application Support/Google/Chrome/Default/Café\n1";
        assert_eq!(open[&412], [PathBuf::from("/Users/ann"), PathBuf::from(chrome)]);
    }

    proptest! {
        #[test]
        fn any_output_is_taken(text in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'p'), Just(b'n'), Just(b'/'), Just(b'\\'), any::<u8>()], 0..60)) {
            parse(&text);
        }
    }
}
