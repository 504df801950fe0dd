//! Queries all hosts in parallel, each with its own timeouts.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::mpsc::channel;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::CertificateError as Certificate;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

use super::plan::{Asked, Plan, Role};
use super::{Answered, Online, Stage, leads_nowhere};

/// How long a name may take to be found. The system's own look-up has no limit
/// that can be set, so it is left behind when it takes longer.
const NAME: Duration = Duration::from_secs(4);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(4);
/// How long the answer may take, with its own look-up and connection.
const ANSWER: Duration = Duration::from_secs(5);
/// How many addresses of a host are tried.
const ADDRESSES: usize = 2;
/// The only identification that is sent.
const USER_AGENT: &str = concat!("shopmend/", env!("CARGO_PKG_VERSION"));

/// Contacts every host of the plan.
#[must_use]
pub fn ask(plan: &Plan) -> Online {
    let proxy = ureq::Proxy::try_from_env();
    let used = proxy.is_some();
    let agent = agent(proxy);
    let answered = std::thread::scope(|scope| {
        let asking: Vec<_> = plan
            .hosts
            .iter()
            .map(|asked| {
                let agent = agent.clone();
                (asked, scope.spawn(move || one(&agent, asked, used)))
            })
            .collect();
        asking
            .into_iter()
            .map(|(asked, thread)| Answered {
                host: asked.host.clone(),
                role: asked.role,
                stage: thread.join().unwrap_or(Stage::Garbled),
            })
            .collect()
    });
    Online { answered, proxy: used }
}

/// An HTTP agent without redirects, cookies or a connection pool, using the
/// system's trusted roots.
fn agent(proxy: Option<ureq::Proxy>) -> Agent {
    Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
        .proxy(proxy)
        .user_agent(USER_AGENT)
        .max_redirects(0)
        .http_status_as_error(false)
        .max_idle_connections(0)
        .timeout_connect(Some(CONNECT))
        .timeout_global(Some(ANSWER))
        .build()
        .new_agent()
}

fn one(agent: &Agent, asked: &Asked, proxy: bool) -> Stage {
    // A proxy does its own name lookups and connections.
    if !proxy {
        let port = if asked.role == Role::Portal { 80 } else { 443 };
        let addresses = match look_up(&asked.host, port) {
            Ok(addresses) => addresses,
            Err(stage) => return stage,
        };
        if asked.role == Role::Nowhere {
            return Stage::Named;
        }
        if addresses.iter().all(|a| leads_nowhere(a.ip())) {
            return Stage::WrongAddress;
        }
        if !addresses.iter().take(ADDRESSES).any(|a| TcpStream::connect_timeout(a, CONNECT / 2).is_ok()) {
            return Stage::NoConnection;
        }
    } else if asked.role == Role::Nowhere {
        return Stage::NoName;
    }
    let url = match asked.role {
        Role::Portal => format!("http://{}/generate_204", asked.host),
        _ => format!("https://{}/", asked.host),
    };
    let answer = match asked.role {
        Role::Portal => agent.get(&url).call(),
        _ => agent.head(&url).call(),
    };
    match answer {
        Ok(response) => {
            let date = response.headers().get("date").and_then(|d| d.to_str().ok());
            Stage::Reached { status: response.status().as_u16(), ahead: date.and_then(clock_ahead) }
        }
        Err(e) => failed(&e),
    }
}

/// The addresses of a host as every program here gets them: by the system's
/// own look-up, in which a hosts file, a VPN and the system's resolver count.
fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, Stage> {
    let (sender, receiver) = channel();
    let name = host.to_owned();
    std::thread::spawn(move || {
        let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        // The receiver is gone if the lookup timed out.
        let _ = sender.send(found);
    });
    match receiver.recv_timeout(NAME) {
        Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        Ok(Ok(_)) => Err(Stage::NoName),
        // `EAI_AGAIN` has this text in every libc; it means that no resolver answered.
        Ok(Err(e)) if e.to_string().contains("emporary failure") => Err(Stage::NoResolver),
        Ok(Err(_)) => Err(Stage::NoName),
        Err(_) => Err(Stage::NoResolver),
    }
}

/// How far this computer's clock is ahead of the date that a host gives.
fn clock_ahead(date: &str) -> Option<i64> {
    let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp().as_second();
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    i64::try_from(ours).ok()?.checked_sub(theirs)
}

/// What an error says of how far it came.
fn failed(e: &ureq::Error) -> Stage {
    match e {
        ureq::Error::HostNotFound => Stage::NoName,
        ureq::Error::Rustls(e) => of_tls(e),
        ureq::Error::Io(e) => of_io(e),
        ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed | ureq::Error::ConnectProxyFailed(_) => {
            Stage::NoConnection
        }
        _ => Stage::Garbled,
    }
}

fn of_io(e: &io::Error) -> Stage {
    match e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => of_tls(tls),
        None if e.kind() == io::ErrorKind::InvalidData => Stage::Garbled,
        None => Stage::NoConnection,
    }
}

fn of_tls(e: &rustls::Error) -> Stage {
    let rustls::Error::InvalidCertificate(why) = e else { return Stage::Garbled };
    match why {
        Certificate::Expired
        | Certificate::ExpiredContext { .. }
        | Certificate::NotValidYet
        | Certificate::NotValidYetContext { .. } => Stage::ExpiredCertificate,
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => Stage::OtherCertificate,
        _ => Stage::UntrustedCertificate,
    }
}
