//! adb's own file transfer (`sync:`), for files that adb's user may read:
//! several requests go out before the first answer is awaited.
//!
//! A request is four letters, four bytes of length in little-endian order, and
//! the path; a file comes as `DATA` pieces and ends with `DONE`, or `FAIL` with
//! a reason (adb's SYNC.TXT).

use std::io::{self, Read, Write};
use std::path::PathBuf;

use super::server::Server;

/// The longest piece that the protocol allows.
const MAX_PIECE: u32 = 64 * 1024;
/// The longest reason that is read.
const MAX_REASON: u32 = 4096;
/// So many requests are under way at once: paths of that many files fit into
/// the buffers of any connection.
const AHEAD: usize = 8;

/// Receives files one after the other: `piece` gets the number of the file and
/// what comes of it, `done` the number and how it ended.
///
/// # Errors
/// The stream's; `InvalidData` for what is no answer.
pub(crate) fn receive(
    server: &Server,
    serial: &str,
    paths: &[PathBuf],
    piece: &mut dyn FnMut(usize, &[u8]) -> io::Result<()>,
    done: &mut dyn FnMut(usize, Result<(), String>) -> io::Result<()>,
) -> io::Result<()> {
    let mut stream = server.open(serial, b"sync:")?;
    let mut sent = 0;
    for at in 0..paths.len() {
        while sent < paths.len() && sent < at + AHEAD {
            if let Some(path) = paths.get(sent) {
                let path = path.as_os_str().as_encoded_bytes();
                let request = [b"RECV".as_slice(), &(path.len() as u32).to_le_bytes(), path].concat();
                stream.write_all(&request)?;
            }
            sent += 1;
        }
        let ended = one(&mut stream, &mut |part| piece(at, part))?;
        done(at, ended)?;
    }
    stream.write_all(b"QUIT\0\0\0\0")
}

/// Reads one file; the inner error is the device's reason.
///
/// # Errors
/// The stream's and those of `piece`; `InvalidData` for what is no answer.
pub fn one(
    from: &mut impl Read,
    piece: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Result<(), String>> {
    let bad = |what: &str| {
        io::Error::new(io::ErrorKind::InvalidData, format!("the device's transfer is malformed: {what}"))
    };
    let mut buffer = vec![0u8; MAX_PIECE as usize];
    loop {
        let mut head = [0u8; 8];
        from.read_exact(&mut head)?;
        let [a, b, c, d, length @ ..] = head;
        let length = u32::from_le_bytes(length);
        match &[a, b, c, d] {
            b"DONE" => return Ok(Ok(())),
            b"DATA" if length <= MAX_PIECE => {
                let part = buffer.get_mut(..length as usize).ok_or_else(|| bad("length"))?;
                from.read_exact(part)?;
                piece(part)?;
            }
            b"FAIL" if length <= MAX_REASON => {
                let mut why = vec![0u8; length as usize];
                from.read_exact(&mut why)?;
                return Ok(Err(crate::fsys::printable(&String::from_utf8_lossy(&why))));
            }
            _ => return Err(bad("unknown answer")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(mut bytes: &[u8]) -> io::Result<(Vec<u8>, Result<(), String>)> {
        let mut out = Vec::new();
        let ended = one(&mut bytes, &mut |part| {
            out.extend(part);
            Ok(())
        })?;
        Ok((out, ended))
    }

    #[test]
    fn a_file_its_failure_and_its_cut_are_told_apart() {
        assert_eq!(read(b"DATA\x02\0\0\0abDATA\x01\0\0\0cDONE\0\0\0\0").unwrap(), (b"abc".to_vec(), Ok(())));
        assert_eq!(read(b"FAIL\x02\0\0\0no").unwrap().1, Err("no".to_owned()));
        assert_eq!(read(b"DATA\x02\0\0\0ab").unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(read(b"DATA\xff\xff\xff\x7f").unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_a_result(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&bytes);
        }
    }
}
