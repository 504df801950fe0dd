//! Commands on a device: adb's shell protocol (`shell,v2,raw:`), which keeps
//! standard error apart and ends with the exit code.
//!
//! A packet is one byte that says what it is, four bytes of length in
//! little-endian order, and that many bytes (adb's shell_protocol.h). A stream
//! that ends without an exit packet was cut off, and is an error.

use std::io::{self, BufReader, Read, Write};
use std::time::{Duration, Instant};

use super::server::{Server, Stream};

/// How much of standard error is kept.
const MAX_STDERR: usize = 256 * 1024;
/// No daemon sends packets of more than a few MiB.
const MAX_PACKET: u32 = 64 << 20;
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const EXIT: u8 = 3;
const CLOSE_STDIN: u8 = 4;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// 128 and more when a signal ended it.
    pub code: u8,
    /// Its beginning, when it is very long.
    pub stderr: Vec<u8>,
}

impl Ran {
    /// Whether there may be more that it complained about than is kept.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.stderr.len() >= MAX_STDERR
    }
}

impl Ran {
    /// The first line of what it complained about.
    #[must_use]
    pub fn complaint(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        let line = text.lines().find(|l| !l.trim().is_empty()).unwrap_or("no reason given");
        crate::fsys::printable(line.get(..200).unwrap_or(line).trim())
    }
}

/// A command that ended, with all that it printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub ran: Ran,
    pub stdout: Vec<u8>,
}

/// Reads the packets of one command.
#[derive(Debug)]
pub struct Packets<R> {
    /// A device that prints little by little sends as many packets.
    from: BufReader<R>,
}

impl<R: Read> Packets<R> {
    /// Reads from a stream that was opened as `shell,v2,raw:`.
    pub fn new(from: R) -> Self {
        Self { from: BufReader::with_capacity(32 * 1024, from) }
    }

    /// Hands standard output to `sink` until the command ends. `tick` is
    /// called before each read and may end it by an error.
    ///
    /// # Errors
    /// The stream's; `UnexpectedEof` when it ends before the command did;
    /// `InvalidData` for what is no packet; the sink's and the tick's.
    pub fn run(
        &mut self,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
        tick: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<Ran> {
        let mut stderr = Vec::new();
        let mut buffer = vec![0u8; 64 * 1024];
        loop {
            tick()?;
            let mut head = [0u8; 5];
            self.from.read_exact(&mut head).map_err(cut_off)?;
            let [id, length @ ..] = head;
            let mut left = u32::from_le_bytes(length);
            if left > MAX_PACKET {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the device sends a packet that is too long",
                ));
            }
            if id == EXIT {
                let mut code = [0u8];
                self.from.read_exact(&mut code).map_err(cut_off)?;
                return Ok(Ran { code: code[0], stderr });
            }
            while left > 0 {
                tick()?;
                let want = buffer.len().min(left as usize);
                let Some(part) = buffer.get_mut(..want) else { break };
                let n = self.from.read(part)?;
                if n == 0 {
                    return Err(cut_off(io::ErrorKind::UnexpectedEof.into()));
                }
                left -= n as u32;
                let part = part.get(..n).unwrap_or_default();
                match id {
                    STDOUT => sink(part)?,
                    STDERR => {
                        let room = MAX_STDERR.saturating_sub(stderr.len());
                        stderr.extend(part.iter().take(room));
                    }
                    _ => {
                        return Err(io::Error::new(
                            io::ErrorKind::InvalidData,
                            "the device sends an unknown packet",
                        ));
                    }
                }
            }
        }
    }
}

/// A shell on the device that stays open: one command after the other costs no
/// new process there, and no new question of the root manager.
#[derive(Debug)]
pub(crate) struct Open {
    to: Stream,
    from: Packets<Stream>,
    calls: u64,
}

/// More than any small command prints.
const MAX_SAID: usize = 4 << 20;

impl Open {
    /// Starts `shell`, which must read commands from its standard input.
    pub(crate) fn start(server: &Server, serial: &str, shell: &[u8]) -> io::Result<Self> {
        let stream = server.open(serial, &[b"shell,v2,raw:", shell].concat())?;
        let mut this = Self { to: stream.again()?, from: Packets::new(stream), calls: 0 };
        this.send(b"export TZ=UTC0 LC_ALL=C\n")?;
        Ok(this)
    }

    /// Runs one script by itself and gives what it says on both outputs.
    /// `secret` is what no answer can hold by chance.
    pub(crate) fn call(&mut self, script: &[u8], secret: &str) -> io::Result<Vec<u8>> {
        self.calls += 1;
        let mark = format!("{secret}{}\n", self.calls).into_bytes();
        let text = [b"( ".as_slice(), script, b"\n) </dev/null 2>&1; echo '", mark.trim_ascii_end(), b"'\n"]
            .concat();
        for part in text.chunks(32 * 1024) {
            self.send(part)?;
        }
        let mut said = Vec::new();
        loop {
            let (id, bytes) = self.from.packet()?;
            match id {
                STDOUT => said.extend(bytes),
                STDERR => {}
                _ => return Err(cut_off(io::ErrorKind::UnexpectedEof.into())),
            }
            if said.ends_with(&mark) {
                said.truncate(said.len() - mark.len());
                return Ok(said);
            }
            if said.len() > MAX_SAID {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the device prints far too much"));
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(&packet(STDIN, bytes))
    }
}

impl<R: Read> Packets<R> {
    /// The next packet as a whole.
    ///
    /// # Errors
    /// As [`Packets::run`].
    pub fn packet(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0u8; 5];
        self.from.read_exact(&mut head).map_err(cut_off)?;
        let [id, length @ ..] = head;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_SAID {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the device sends a packet that is too long",
            ));
        }
        let mut out = vec![0u8; length];
        self.from.read_exact(&mut out).map_err(cut_off)?;
        Ok((id, out))
    }
}

fn cut_off(e: io::Error) -> io::Error {
    if e.kind() == io::ErrorKind::UnexpectedEof {
        io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the connection to the device was cut before the command ended",
        )
    } else {
        e
    }
}

/// What a command reads.
pub(crate) enum Input<'a> {
    /// Its standard input is empty: not even that has to be sent.
    Nothing,
    Bytes(&'a [u8]),
    From(&'a mut (dyn Read + Send)),
}

/// What a command begins with that reads nothing.
const NO_INPUT: &[u8] = b"exec </dev/null; ";

/// Runs one command to its end.
///
/// # Errors
/// As [`Packets::run`], and when the device is silent for longer than the
/// server's patience, or the command takes longer than `limit`.
pub(crate) fn run(
    server: &Server,
    serial: &str,
    command: &[u8],
    input: Input,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    limit: Duration,
) -> io::Result<Ran> {
    let nothing: &[u8] = if matches!(input, Input::Nothing) { NO_INPUT } else { b"" };
    let service = [b"shell,v2,raw:", nothing, command].concat();
    let stream = server.open(serial, &service)?;
    let end = Instant::now() + limit;
    let mut tick = || {
        if Instant::now() < end {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::TimedOut, "it took too long"))
        }
    };
    if matches!(input, Input::Nothing) {
        return Packets::new(stream).run(sink, &mut tick);
    }
    let mut writer = stream.again()?;
    let small = matches!(&input, Input::Bytes(b) if b.len() <= 4096);
    if small {
        write(&mut writer, input)?;
        return Packets::new(stream).run(sink, &mut tick);
    }
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || write(&mut writer, input));
        let reader = stream.again()?;
        let ran = Packets::new(reader).run(sink, &mut tick);
        if ran.is_err() {
            stream.shut();
        }
        let sent = sending.join().unwrap_or_else(|_| Err(io::Error::other("the sending thread failed")));
        match (ran, sent) {
            // A command may end without reading everything: its exit code tells.
            (Ok(ran), Err(e)) if ran.code != 0 && e.kind() == io::ErrorKind::BrokenPipe => Ok(ran),
            (Ok(ran), sent) => sent.map(|()| ran),
            (Err(e), _) => Err(e),
        }
    })
}

fn write(to: &mut Stream, input: Input) -> io::Result<()> {
    let mut last = Vec::new();
    match input {
        Input::Nothing => return Ok(()),
        Input::Bytes(bytes) => {
            for part in bytes.chunks(32 * 1024) {
                to.write_all(&last)?;
                last = packet(STDIN, part);
            }
        }
        Input::From(from) => {
            let mut buffer = vec![0u8; 32 * 1024];
            loop {
                let n = from.read(&mut buffer)?;
                if n == 0 {
                    break;
                }
                to.write_all(&packet(STDIN, buffer.get(..n).unwrap_or_default()))?;
            }
        }
    }
    // With what came before, so that it is no trip of its own.
    last.extend(packet(CLOSE_STDIN, &[]));
    to.write_all(&last)
}

fn packet(id: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 5);
    out.push(id);
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> io::Result<Output> {
        let mut stdout = Vec::new();
        let ran = Packets::new(bytes).run(
            &mut |part| {
                stdout.extend(part);
                Ok(())
            },
            &mut || Ok(()),
        )?;
        Ok(Output { ran, stdout })
    }

    #[test]
    fn output_error_and_exit_code_are_kept_apart() {
        let out = read(b"\x01\x02\0\0\0ab\x02\x01\0\0\0e\x01\x01\0\0\0c\x03\x01\0\0\0\x07").unwrap();
        assert_eq!(
            (out.stdout.as_slice(), out.ran.stderr.as_slice(), out.ran.code),
            (&b"abc"[..], &b"e"[..], 7)
        );
    }

    #[test]
    fn a_stream_that_ends_early_is_an_error() {
        for cut in [&b""[..], b"\x01\x02\0\0\0ab", b"\x01\x02\0\0\0a", b"\x03\x01\0\0\0", b"\x01\x02"] {
            assert_eq!(read(cut).unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{cut:?}");
        }
        assert_eq!(read(b"\x01\xff\xff\xff\xff").unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read(b"\x09\x01\0\0\0x").unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_a_result(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(out) = read(&bytes) {
                prop_assert!(out.stdout.len() + out.ran.stderr.len() < bytes.len());
            }
        }
    }
}
