//! The daemon of a test device: adb's transport protocol over TCP, as the real
//! `adb connect` speaks it (adb's protocol.txt), with faults on demand.
//!
//! A message is a head of 24 bytes (command, two arguments, length, sum,
//! inverted command) and its content; each `WRTE` is answered by `OKAY` before
//! the next one of its stream.
#![allow(dead_code, unreachable_pub)]

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::root::Model;
use super::services;

const CNXN: u32 = 0x4e58_4e43;
const AUTH: u32 = 0x4854_5541;
const OPEN: u32 = 0x4e45_504f;
const OKAY: u32 = 0x5941_4b4f;
const CLSE: u32 = 0x4553_4c43;
const WRTE: u32 = 0x4554_5257;
const VERSION: u32 = 0x0100_0001;
const MAX_PAYLOAD: usize = 256 * 1024;

/// How a listing is falsified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    DotDot,
    Elsewhere,
    Nul,
    /// One name without end.
    Huge,
}

/// What begins to go wrong in the middle of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mid {
    /// The cable is out before the request is looked at.
    Cut,
    /// The request is done, and nobody is told.
    CutAfter,
    /// The cable is out, and the device stays offline afterwards.
    Offline,
    /// The cable is out, and afterwards this computer is not allowed any more.
    Unauthorised,
    Freeze,
    Lie(Lie),
    /// The disk is full from then on.
    Full,
}

/// What goes wrong, from now on; each can be switched on and off at any time.
#[derive(Debug, Default)]
pub struct Faults {
    pub unauthorised: AtomicBool,
    pub offline: AtomicBool,
    /// Takes connections and commands, and never answers.
    pub frozen: AtomicBool,
    pub shell_v1_only: AtomicBool,
    /// Waits so many milliseconds before each thing that the host asks.
    pub slow_ms: AtomicU64,
    /// After so many requests more, the connection is cut before the request
    /// is looked at; negative for never.
    pub cut_before: Countdown,
    /// After so many requests more, the request is done and the connection is
    /// cut right after.
    pub cut_after: Countdown,
    /// After so many requests more, that begins.
    pub mid: Mutex<Option<(i64, Mid)>>,
    /// After so many bytes more to the host, the connection is cut.
    pub cut_bytes: Countdown,
    pub lie: Mutex<Option<Lie>>,
}

/// Counts down to a fault.
#[derive(Debug)]
pub struct Countdown(AtomicI64);

impl Default for Countdown {
    fn default() -> Self {
        Self(AtomicI64::new(-1))
    }
}

impl Countdown {
    pub fn set(&self, n: i64) {
        self.0.store(n, Ordering::SeqCst);
    }

    /// Takes `by` off; true when that reaches the end, once.
    fn reached(&self, by: i64) -> bool {
        // In one step: a fault that is switched off meanwhile stays off.
        let less = |before: i64| (before >= 0).then(|| (before - by).max(-1));
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok_and(|before| before < by)
    }
}

impl Faults {
    /// Has something begin after so many requests more.
    pub fn begin(&self, after: i64, what: Mid) {
        *self.mid.lock().unwrap() = Some((after, what));
    }

    /// What begins with this request.
    fn due(&self) -> Option<Mid> {
        let mut mid = self.mid.lock().unwrap();
        let (left, what) = mid.as_mut()?;
        if *left > 0 {
            *left -= 1;
            return None;
        }
        let what = *what;
        *mid = None;
        Some(what)
    }

    /// Everything works again.
    pub fn heal(&self) {
        for flag in [&self.unauthorised, &self.offline, &self.frozen, &self.shell_v1_only] {
            flag.store(false, Ordering::SeqCst);
        }
        *self.mid.lock().unwrap() = None;
        for count in [&self.cut_before, &self.cut_after, &self.cut_bytes] {
            count.set(-1);
        }
        self.slow_ms.store(0, Ordering::SeqCst);
        *self.lie.lock().unwrap() = None;
    }
}

/// What all parts of one daemon share.
pub struct Shared {
    pub root: PathBuf,
    pub model: Model,
    pub faults: Faults,
    /// Whether `adb root` made the daemon root.
    pub is_root: AtomicBool,
    /// Commands that were run, for tests that count or search them.
    pub commands: Mutex<Vec<String>>,
    /// Everything that the host asked for, by its beginning. What a command reads
    /// is none: how many pieces that comes in, the moment decides.
    pub asked: Mutex<Vec<String>>,
    /// Bytes that went to the host.
    pub sent: AtomicU64,
    live: Mutex<Vec<TcpStream>>,
    /// Folders of the shared storage as `own_shared` left them.
    pub owned: Mutex<HashMap<PathBuf, SystemTime>>,
    stopped: AtomicBool,
}

/// A running daemon.
pub struct Daemon {
    pub shared: Arc<Shared>,
    port: u16,
}

impl Daemon {
    /// Serves a root folder on a free port of this machine.
    pub fn start(root: &Path, model: Model) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            root: root.to_path_buf(),
            model,
            faults: Faults::default(),
            is_root: AtomicBool::new(false),
            commands: Mutex::default(),
            asked: Mutex::default(),
            sent: AtomicU64::new(0),
            live: Mutex::default(),
            owned: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stopped.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&serving);
                std::thread::spawn(move || {
                    // An end of the connection is nothing to report.
                    let _ = Connection::serve(stream, &shared);
                });
            }
        });
        Self { shared, port }
    }

    /// What `adb connect` takes.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Cuts all connections, as when the cable is pulled.
    pub fn cut(&self) {
        self.shared.cut();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.cut();
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    pub fn cut(&self) {
        for stream in self.live.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    fn banner(&self) -> Vec<u8> {
        let features =
            if self.faults.shell_v1_only.load(Ordering::SeqCst) { "cmd" } else { "shell_v2,cmd,stat_v2" };
        format!(
            "device::ro.product.name=test;ro.product.model=Testphone;ro.product.device=test;features={features}"
        )
        .into_bytes()
    }

    /// Stays here while the device is frozen; an end of the test ends it.
    pub fn freeze(&self) {
        while self.faults.frozen.load(Ordering::SeqCst) && !self.stopped.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

struct Connection {
    shared: Arc<Shared>,
    out: Mutex<TcpStream>,
    streams: Mutex<HashMap<u32, Ends>>,
    next: AtomicU32,
}

/// The daemon's ends of one stream.
struct Ends {
    inbox: Sender<Vec<u8>>,
    acks: Sender<()>,
}

impl Connection {
    fn serve(stream: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
        stream.set_nodelay(true)?;
        shared.live.lock().unwrap().push(stream.try_clone()?);
        let mut from = stream.try_clone()?;
        let this = Arc::new(Self {
            shared: Arc::clone(shared),
            out: Mutex::new(stream),
            streams: Mutex::default(),
            next: AtomicU32::new(1),
        });
        let mut reading = HashSet::new();
        loop {
            let mut head = [0u8; 24];
            from.read_exact(&mut head)?;
            let word = |i: usize| u32::from_le_bytes(head[i * 4..i * 4 + 4].try_into().unwrap());
            let (command, a, b, length) = (word(0), word(1), word(2), word(3) as usize);
            let mut content = vec![0u8; length];
            from.read_exact(&mut content)?;
            let faults = &this.shared.faults;
            let mut cut_after = false;
            if command == OPEN || command == WRTE {
                let start = content.get(..content.len().min(400)).unwrap_or_default();
                // A shell that stays open is asked by what is written to it, and has a short name.
                if command == OPEN && content.len() > 100 {
                    reading.insert(a);
                }
                if command == OPEN || !reading.contains(&a) {
                    this.shared.asked.lock().unwrap().push(String::from_utf8_lossy(start).into_owned());
                }
                // Large pieces are content, small ones are commands.
                let slow = faults.slow_ms.load(Ordering::SeqCst);
                if slow > 0 && content.len() < 8192 {
                    std::thread::sleep(Duration::from_millis(slow));
                }
                match faults.due() {
                    None => {}
                    Some(Mid::Cut) => {
                        this.hang_up();
                        return Ok(());
                    }
                    Some(Mid::CutAfter) => cut_after = true,
                    Some(mid @ (Mid::Offline | Mid::Unauthorised)) => {
                        let flag = if mid == Mid::Offline { &faults.offline } else { &faults.unauthorised };
                        flag.store(true, Ordering::SeqCst);
                        this.hang_up();
                        return Ok(());
                    }
                    Some(Mid::Freeze) => faults.frozen.store(true, Ordering::SeqCst),
                    Some(Mid::Lie(lie)) => *faults.lie.lock().unwrap() = Some(lie),
                    Some(Mid::Full) => super::becomes_full(&this.shared.root),
                }
                if faults.cut_before.reached(1) {
                    this.hang_up();
                    return Ok(());
                }
                cut_after |= faults.cut_after.reached(1);
            }
            this.shared.freeze();
            match command {
                CNXN if this.shared.faults.offline.load(Ordering::SeqCst) => {}
                CNXN | AUTH if this.shared.faults.unauthorised.load(Ordering::SeqCst) => {
                    // A key that was offered waits for the person for ever.
                    if command == CNXN || a == 2 {
                        this.send(AUTH, 1, 0, &[7; 20])?;
                    }
                }
                CNXN | AUTH => this.send(CNXN, VERSION, MAX_PAYLOAD as u32, &this.shared.banner())?,
                OPEN => Self::open(&this, a, &content)?,
                OKAY => {
                    if let Some(ends) = this.streams.lock().unwrap().get(&b) {
                        let _ = ends.acks.send(());
                    }
                }
                WRTE => {
                    let there = this.streams.lock().unwrap().get(&b).map(|e| e.inbox.send(content));
                    if there.is_some() {
                        this.send(OKAY, b, a, &[])?;
                    }
                }
                CLSE => {
                    this.streams.lock().unwrap().remove(&b);
                }
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
            if cut_after {
                // It is done by then, and nobody is told.
                std::thread::sleep(Duration::from_millis(60));
                this.hang_up();
            }
        }
    }

    fn open(this: &Arc<Self>, remote: u32, service: &[u8]) -> io::Result<()> {
        let service = service.strip_suffix(b"\0").unwrap_or(service).to_vec();
        let local = this.next.fetch_add(1, Ordering::SeqCst);
        let (inbox, received) = channel();
        let (acks, acked) = channel();
        this.streams.lock().unwrap().insert(local, Ends { inbox, acks });
        this.send(OKAY, local, remote, &[])?;
        let wire = Wire { connection: Arc::clone(this), local, remote, received, acked };
        std::thread::spawn(move || {
            let shared = Arc::clone(&wire.connection.shared);
            let mut wire = wire;
            let _ = services::run(&shared, &service, &mut wire);
            wire.close();
        });
        Ok(())
    }

    /// Ends this connection; one that was made since stays.
    fn hang_up(&self) {
        let _ = self.out.lock().unwrap().shutdown(std::net::Shutdown::Both);
    }

    fn send(&self, command: u32, a: u32, b: u32, content: &[u8]) -> io::Result<()> {
        let mut message = Vec::with_capacity(24 + content.len());
        let sum = content.iter().fold(0u32, |s, &b| s.wrapping_add(u32::from(b)));
        for word in [command, a, b, content.len() as u32, sum, !command] {
            message.extend(word.to_le_bytes());
        }
        message.extend(content);
        self.shared.sent.fetch_add(message.len() as u64, Ordering::SeqCst);
        if self.shared.faults.cut_bytes.reached(message.len() as i64) {
            self.hang_up();
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.out.lock().unwrap().write_all(&message)
    }
}

/// One stream, as its service uses it.
pub struct Wire {
    connection: Arc<Connection>,
    local: u32,
    remote: u32,
    received: Receiver<Vec<u8>>,
    acked: Receiver<()>,
}

impl Wire {
    /// Sends, and waits until the host has taken it.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(MAX_PAYLOAD) {
            self.connection.shared.freeze();
            self.connection.send(WRTE, self.local, self.remote, part)?;
            self.acked.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        Ok(())
    }

    /// The next piece from the host; an error when it closed the stream.
    pub fn next(&self) -> io::Result<Vec<u8>> {
        self.received.recv().map_err(|_| io::ErrorKind::UnexpectedEof.into())
    }

    /// Takes the receiving half away, for a thread of its own.
    pub fn receiver(&mut self) -> Receiver<Vec<u8>> {
        std::mem::replace(&mut self.received, channel().1)
    }

    fn close(&self) {
        self.connection.streams.lock().unwrap().remove(&self.local);
        let _ = self.connection.send(CLSE, self.local, self.remote, &[]);
    }
}
