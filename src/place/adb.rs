//! The adb server: which Android devices are attached, and in which state.
//!
//! Speaks the server's own protocol (adb's SERVICES.TXT): a request is four
//! hexadecimal digits of length and the text; the answer is `OKAY` or `FAIL`,
//! a length in the same form, and the text.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Serialize;

use crate::error::{Error, Kind, Result};
use crate::fsys::printable;

/// How long the server may take for one answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer that four hexadecimal digits can announce.
const MAX_ANSWER: usize = 0xffff;

/// An attached device as the adb server lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    pub serial: String,
    /// adb's own word: `device`, `unauthorized`, `offline`, `recovery`.
    pub state: String,
    /// The model as the device names it, when it is authorised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

impl Device {
    /// Whether commands can be sent to it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state == "device"
    }
}

/// Where the adb server listens: `ADB_SERVER_SOCKET` (`tcp:HOST:PORT`), else
/// `ANDROID_ADB_SERVER_ADDRESS` and `ANDROID_ADB_SERVER_PORT`, else
/// `127.0.0.1:5037`.
///
/// # Errors
/// Kind `Usage` for an `ADB_SERVER_SOCKET` of another form.
pub fn server_address(var: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    if let Some(socket) = var("ADB_SERVER_SOCKET").filter(|s| !s.is_empty()) {
        return socket.strip_prefix("tcp:").filter(|rest| rest.contains(':')).map(str::to_owned).ok_or_else(
            || {
                Error::new(Kind::Usage, format!("ADB_SERVER_SOCKET is {socket:?}"))
                    .hint("it must have the form tcp:HOST:PORT")
            },
        );
    }
    let host = var("ANDROID_ADB_SERVER_ADDRESS").filter(|s| !s.is_empty());
    let port = var("ANDROID_ADB_SERVER_PORT").filter(|s| !s.is_empty());
    Ok(format!("{}:{}", host.as_deref().unwrap_or("127.0.0.1"), port.as_deref().unwrap_or("5037")))
}

/// Asks the adb server for the attached devices; starts it when it does not
/// listen and the `adb` program is there.
///
/// # Errors
/// Kind `Device` when there is no server or it does not answer as it should.
pub fn devices(address: &str) -> Result<Vec<Device>> {
    let unreachable = |e: io::Error| {
        Error::new(Kind::Device, format!("the adb server at {} does not answer", printable(address)))
            .because(e)
            .hint("install adb (Debian: apt-get install adb), attach a device and allow USB debugging on it")
    };
    let stream = match connect(address) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused && started() => connect(address),
        other => other,
    };
    let mut stream = stream.map_err(unreachable)?;
    let answer = ask(&mut stream, "host:devices-l").map_err(unreachable)?;
    Ok(parse(&answer))
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the address names no host");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Has the `adb` program start its server, which takes its address from the
/// same variables.
fn started() -> bool {
    Command::new("adb")
        .arg("start-server")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// One request and its answer, for any stream.
///
/// # Errors
/// The stream's, and `InvalidData` for what is no answer.
pub fn ask(stream: &mut (impl Read + Write), service: &str) -> io::Result<Vec<u8>> {
    stream.write_all(format!("{:04x}{service}", service.len()).as_bytes())?;
    let mut status = [0; 4];
    stream.read_exact(&mut status)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "it is no adb server");
    let length =
        std::str::from_utf8(&length).ok().and_then(|t| usize::from_str_radix(t, 16).ok()).ok_or_else(bad)?;
    let mut answer = vec![0; length.min(MAX_ANSWER)];
    stream.read_exact(&mut answer)?;
    match &status {
        b"OKAY" => Ok(answer),
        b"FAIL" => Err(io::Error::other(printable(&String::from_utf8_lossy(&answer)))),
        _ => Err(bad()),
    }
}

/// Reads the lines of `host:devices-l`: serial, state, `key:value` facts.
#[must_use]
pub fn parse(answer: &[u8]) -> Vec<Device> {
    String::from_utf8_lossy(answer)
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (serial, state) = (words.next()?, words.next()?);
            let model = words.find_map(|w| w.strip_prefix("model:"));
            Some(Device { serial: printable(serial), state: printable(state), model: model.map(printable) })
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
            server_address(&|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
        };
        assert_eq!(with(&[]).unwrap(), "127.0.0.1:5037");
        assert_eq!(with(&[("ADB_SERVER_SOCKET", "tcp:10.0.0.1:99")]).unwrap(), "10.0.0.1:99");
        assert_eq!(with(&[("ANDROID_ADB_SERVER_PORT", "6000")]).unwrap(), "127.0.0.1:6000");
        assert!(with(&[("ADB_SERVER_SOCKET", "nonsense")]).is_err());
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
