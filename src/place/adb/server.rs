//! The adb server: which devices are attached, and a stream to one of them.
//!
//! Speaks the server's own protocol (adb's SERVICES.TXT): a request is four
//! hexadecimal digits of length and the text; the answer is `OKAY` or `FAIL`,
//! and what belongs to it a length in the same form and the text.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Serialize;

use crate::error::{Error, Kind, Result};
use crate::fsys::printable;

/// How long a device or the server may stay silent, unless
/// `SHOPMEND_ADB_TIMEOUT` says another number of seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the server itself may take for a connection or an answer.
const SERVER_PATIENCE: Duration = Duration::from_secs(5);
/// The longest text that four hexadecimal digits can announce.
const MAX_TEXT: usize = 0xffff;

/// An attached device as the adb server lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attached {
    pub serial: String,
    /// adb's own word: `device`, `unauthorized`, `offline`, `recovery`.
    pub state: String,
    /// The model as the device names it, when it is authorised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

impl Attached {
    /// Whether commands can be sent to it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state == "device"
    }

    /// What a person does about a device that is not ready.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self.state.as_str() {
            "unauthorized" => "unlock it and allow USB debugging for this computer",
            "offline" | "connecting" | "authorizing" => "unplug it and plug it in again, or wait a moment",
            "no" => "this user may not use the device: add a udev rule, or join the group plugdev",
            "recovery" | "sideload" | "bootloader" => "start Android on it",
            _ => "unlock it and allow USB debugging for this computer",
        }
    }
}

/// Where the adb server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Address {
    Tcp(String),
    Unix(PathBuf),
}

/// The adb server of this machine, or of the one that the environment names.
#[derive(Debug, Clone)]
pub struct Server {
    address: Address,
    /// How long a device may stay silent.
    pub(crate) patience: Duration,
}

impl Server {
    /// Where the environment says: `ADB_SERVER_SOCKET` (`tcp:HOST:PORT` or
    /// `localfilesystem:PATH`), else `ANDROID_ADB_SERVER_ADDRESS` and
    /// `ANDROID_ADB_SERVER_PORT`, else `127.0.0.1:5037`.
    ///
    /// # Errors
    /// Kind `Usage` for a value of another form.
    pub fn from_env(var: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let var = |name: &str| var(name).filter(|v| !v.is_empty());
        let patience = match var("SHOPMEND_ADB_TIMEOUT") {
            None => PATIENCE,
            Some(text) => text.parse::<u16>().ok().filter(|s| *s > 0).map_or_else(
                || {
                    Err(Error::new(Kind::Usage, format!("SHOPMEND_ADB_TIMEOUT is {text:?}"))
                        .hint("it must be a number of seconds"))
                },
                |s| Ok(Duration::from_secs(u64::from(s))),
            )?,
        };
        let address = if let Some(socket) = var("ADB_SERVER_SOCKET") {
            let tcp = socket.strip_prefix("tcp:");
            if let Some(path) = socket.strip_prefix("localfilesystem:") {
                Address::Unix(PathBuf::from(path))
            } else if let Some(port) = tcp.filter(|t| t.parse::<u16>().is_ok()) {
                Address::Tcp(format!("127.0.0.1:{port}"))
            } else if let Some(tcp) = tcp.filter(|t| t.contains(':')) {
                Address::Tcp(tcp.to_owned())
            } else {
                return Err(Error::new(Kind::Usage, format!("ADB_SERVER_SOCKET is {socket:?}"))
                    .hint("it must have the form tcp:HOST:PORT or localfilesystem:PATH"));
            }
        } else {
            let host = var("ANDROID_ADB_SERVER_ADDRESS");
            let port = var("ANDROID_ADB_SERVER_PORT");
            Address::Tcp(format!(
                "{}:{}",
                host.as_deref().unwrap_or("127.0.0.1"),
                port.as_deref().unwrap_or("5037")
            ))
        };
        Ok(Self { address, patience })
    }

    /// The same, for questions that nobody should wait for any longer.
    #[must_use]
    pub(super) fn hurried(&self, limit: Duration) -> Self {
        Self { patience: self.patience.min(limit), ..self.clone() }
    }

    /// Its address for a person.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.address {
            Address::Tcp(tcp) => printable(tcp),
            Address::Unix(path) => crate::fsys::shown(path),
        }
    }

    /// The attached devices; starts the server when it does not listen and
    /// the `adb` program is there.
    ///
    /// # Errors
    /// Kind `Device` when there is no server or it does not answer as it should.
    pub fn devices(&self) -> Result<Vec<Attached>> {
        let answer = self.started().and_then(|mut s| ask(&mut s, "host:devices-l"));
        Ok(parse(&answer.map_err(|e| self.unreachable(e))?))
    }

    /// Follows which devices are attached.
    ///
    /// # Errors
    /// As [`Server::devices`].
    pub fn track(&self) -> Result<Tracker> {
        let begin = || {
            let mut stream = self.started()?;
            request(&mut stream, "host:track-devices-l")?;
            Ok(Tracker { stream })
        };
        begin().map_err(|e| self.unreachable(e))
    }

    /// What a device's adb daemon can do, by adb's own words.
    pub(crate) fn features(&self, serial: &str) -> io::Result<Vec<String>> {
        let answer = ask(&mut self.connect()?, &format!("host-serial:{serial}:features"))?;
        Ok(String::from_utf8_lossy(&answer).split(',').map(|f| f.trim().to_owned()).collect())
    }

    /// A stream to a service of a device.
    pub(crate) fn open(&self, serial: &str, service: &[u8]) -> io::Result<Stream> {
        let mut stream = self.connect()?;
        request(&mut stream, format!("host:transport:{serial}").as_bytes())?;
        stream.patience(self.patience)?;
        request(&mut stream, service)?;
        Ok(stream)
    }

    fn started(&self) -> io::Result<Stream> {
        match self.connect() {
            Err(e)
                if matches!(e.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
                    && start_server() =>
            {
                self.connect()
            }
            other => other,
        }
    }

    fn connect(&self) -> io::Result<Stream> {
        let stream = match &self.address {
            #[cfg(unix)]
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
            #[cfg(not(unix))]
            Address::Unix(_) => {
                let why = "sockets with a path are not supported on this system";
                return Err(io::Error::new(io::ErrorKind::Unsupported, why));
            }
            Address::Tcp(text) => {
                let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the address names no host");
                let mut found = None;
                for address in text.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, SERVER_PATIENCE) {
                        Ok(stream) => {
                            found = Some(stream);
                            break;
                        }
                        Err(e) => last = e,
                    }
                }
                let stream = found.ok_or(last)?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
        };
        stream.patience(SERVER_PATIENCE)?;
        Ok(stream)
    }

    fn unreachable(&self, e: io::Error) -> Error {
        Error::new(Kind::Device, format!("the adb server at {} does not answer", self.name()))
            .because(e)
            .hint("install adb (Debian: apt-get install adb), attach a device and allow USB debugging on it")
    }
}

/// Follows the list of attached devices as it changes.
#[derive(Debug)]
pub struct Tracker {
    stream: Stream,
}

impl Tracker {
    /// The list when it changes; `None` when it did not within `wait`.
    ///
    /// # Errors
    /// The stream's.
    pub fn next(&mut self, wait: Duration) -> io::Result<Option<Vec<Attached>>> {
        self.stream.patience(wait.max(Duration::from_millis(1)))?;
        let mut length = [0; 4];
        match self.stream.read(&mut length[..1]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(e) if is_timeout(&e) => return Ok(None),
            Err(e) => return Err(e),
        }
        self.stream.patience(SERVER_PATIENCE)?;
        self.stream.read_exact(&mut length[1..])?;
        let mut text = vec![0; hex(length)?];
        self.stream.read_exact(&mut text)?;
        Ok(Some(parse(&text)))
    }
}

/// Whether nothing came within the time that was allowed.
pub(crate) fn is_timeout(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// A connection to the server, with a limit on how long it may be silent.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Stream {
    pub(crate) fn patience(&self, wait: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(s) => s.set_read_timeout(Some(wait)).and_then(|()| s.set_write_timeout(Some(wait))),
            #[cfg(unix)]
            Self::Unix(s) => s.set_read_timeout(Some(wait)).and_then(|()| s.set_write_timeout(Some(wait))),
        }
    }

    /// The same connection once more, for a second thread.
    pub(crate) fn again(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(s) => Self::Tcp(s.try_clone()?),
            #[cfg(unix)]
            Self::Unix(s) => Self::Unix(s.try_clone()?),
        })
    }

    /// Ends both directions, so that no thread waits on it any more.
    pub(crate) fn shut(&self) {
        let _ = match self {
            Self::Tcp(s) => s.shutdown(std::net::Shutdown::Both),
            #[cfg(unix)]
            Self::Unix(s) => s.shutdown(std::net::Shutdown::Both),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(s) => {
                // The server sends small pieces one after the other and waits
                // for each to be acknowledged; the kernel would wait 40 ms.
                #[cfg(any(target_os = "linux", target_os = "android"))]
                let _ = rustix::net::sockopt::set_tcp_quickack(&*s, true);
                s.read(buf)
            }
            #[cfg(unix)]
            Self::Unix(s) => s.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(s) => s.write(buf),
            #[cfg(unix)]
            Self::Unix(s) => s.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Has the `adb` program start its server, which takes its address from the
/// same variables.
fn start_server() -> bool {
    Command::new("adb")
        .arg("start-server")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn hex(digits: [u8; 4]) -> io::Result<usize> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "it is no adb server");
    std::str::from_utf8(&digits)
        .ok()
        .filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()))
        .and_then(|t| usize::from_str_radix(t, 16).ok())
        .ok_or_else(bad)
}

/// Asks for something that is answered by `OKAY` alone, or with what follows.
///
/// # Errors
/// The stream's, what the server says, and `InvalidData` for what is no answer.
fn request(stream: &mut (impl Read + Write), service: impl AsRef<[u8]>) -> io::Result<()> {
    let service = service.as_ref();
    if service.len() > MAX_TEXT {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the request is too long for adb"));
    }
    let mut message = format!("{:04x}", service.len()).into_bytes();
    message.extend(service);
    stream.write_all(&message)?;
    let mut status = [0; 4];
    stream.read_exact(&mut status)?;
    match &status {
        b"OKAY" => Ok(()),
        b"FAIL" => {
            let why = text(stream)?;
            let why = printable(&String::from_utf8_lossy(&why));
            let gone = ["not found", "offline", "unauthorized", "closed"].iter().any(|w| why.contains(w));
            let kind = if gone { io::ErrorKind::NotConnected } else { io::ErrorKind::Other };
            Err(io::Error::new(kind, format!("adb says: {why}")))
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is no adb server")),
    }
}

fn text(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut text = vec![0; hex(length)?];
    stream.read_exact(&mut text)?;
    Ok(text)
}

/// One request and its answer, for any stream.
///
/// # Errors
/// The stream's, what the server says, and `InvalidData` for what is no answer.
pub fn ask(stream: &mut (impl Read + Write), service: &str) -> io::Result<Vec<u8>> {
    request(stream, service)?;
    text(stream)
}

/// Reads the lines of `host:devices-l`: serial, state, `key:value` facts.
#[must_use]
pub fn parse(answer: &[u8]) -> Vec<Attached> {
    String::from_utf8_lossy(answer)
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (serial, state) = (words.next()?, words.next()?);
            let model = words.find_map(|w| w.strip_prefix("model:"));
            Some(Attached { serial: printable(serial), state: printable(state), model: model.map(printable) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn devices_in_every_state_are_read() {
        let text = b"R58N     device usb:1-2 product:a51 model:SM_A515F device:a51 transport_id:3\n\
                     10.0.0.7:5555  offline transport_id:4\nabc unauthorized usb:1-1 transport_id:5\n";
        let found = parse(text);
        assert_eq!(found.len(), 3);
        assert!(found[0].is_ready() && found[0].model.as_deref() == Some("SM_A515F"));
        assert!(!found[1].is_ready() && !found[2].is_ready());
    }

    #[test]
    fn the_server_is_where_the_variables_say() {
        let with = |pairs: &'static [(&str, &str)]| {
            Server::from_env(&|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
        };
        assert_eq!(with(&[]).unwrap().name(), "127.0.0.1:5037");
        assert_eq!(with(&[("ADB_SERVER_SOCKET", "tcp:10.0.0.1:99")]).unwrap().name(), "10.0.0.1:99");
        assert_eq!(with(&[("ADB_SERVER_SOCKET", "tcp:99")]).unwrap().name(), "127.0.0.1:99");
        assert_eq!(with(&[("ADB_SERVER_SOCKET", "localfilesystem:/run/adb")]).unwrap().name(), "/run/adb");
        assert_eq!(with(&[("ANDROID_ADB_SERVER_PORT", "6000")]).unwrap().name(), "127.0.0.1:6000");
        assert!(with(&[("ADB_SERVER_SOCKET", "nonsense")]).is_err());
        assert!(with(&[("SHOPMEND_ADB_TIMEOUT", "soon")]).is_err());
    }

    struct Fake(io::Cursor<Vec<u8>>);
    impl Read for Fake {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.0.read(buf)
        }
    }
    impl Write for Fake {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(parse(&bytes).len() <= bytes.len());
            let _ = ask(&mut Fake(io::Cursor::new(bytes)), "host:devices-l");
        }
    }
}
