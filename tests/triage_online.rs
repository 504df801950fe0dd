//! The triage that asks the network, in a network namespace with a resolver, hosts
//! and certificates of its own: what is told apart, whom it asks, how long it waits.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::run::Run;
use crate::support::skip::{has, skipped};

/// When the program gives up after 15 seconds, it has ended on any machine.
const AN_END: Duration = Duration::from_mins(1);

const SELLER: &str = "seller-us.tiktok.com";
const HOSTS: [&str; 5] =
    [SELLER, "www.tiktok.com", "www.wikipedia.org", "www.debian.org", "connectivitycheck.gstatic.com"];
/// Addresses for documentation, which no filter gives.
const ADDRESSES: [&str; 5] = ["203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4", "203.0.113.5"];
/// One that nobody has: what is sent there is lost.
const NOBODY: &str = "198.51.100.9";

fn lacking() -> Option<String> {
    if rustix::process::geteuid().as_raw() != 0 {
        return Some("a network namespace with a resolver of its own needs root".to_owned());
    }
    let missing: Vec<&str> =
        ["unshare", "ip", "python3", "openssl", "strace"].into_iter().filter(|p| !has(p)).collect();
    if !missing.is_empty() {
        return Some(format!("not installed: {}", missing.join(", ")));
    }
    let own = Command::new("unshare").args(["-n", "-m", "true"]).output();
    (!own.is_ok_and(|o| o.status.success())).then(|| "no network namespace can be made".to_owned())
}

fn can(test: &str) -> bool {
    match lacking() {
        None => true,
        Some(why) => {
            skipped(test, &why);
            false
        }
    }
}

fn openssl(arguments: &[&str], folder: &Path) {
    let out = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
    assert!(out.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// A root that the tests trust, one that they do not, and a certificate of each
/// for all hosts; one of the trusted root that was valid long ago.
static KEYS: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let tmp = tempfile::tempdir().unwrap();
    let at = tmp.path().to_path_buf();
    let names: Vec<String> = HOSTS.iter().map(|h| format!("DNS:{h}")).collect();
    fs::write(at.join("names"), format!("subjectAltName={}\nbasicConstraints=CA:FALSE\n", names.join(",")))
        .unwrap();
    for root in ["good", "bad"] {
        let (key, cert) = (format!("{root}-root.key"), format!("{root}-root.pem"));
        let subject = format!("/CN=Test {root}");
        openssl(
            &[
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-keyout",
                &key,
                "-out",
                &cert,
                "-days",
                "30",
                "-subj",
                &subject,
                "-addext",
                "basicConstraints=critical,CA:TRUE",
                "-addext",
                "keyUsage=critical,keyCertSign",
            ],
            &at,
        );
        let (leaf, request) = (format!("{root}.key"), format!("{root}.csr"));
        openssl(
            &[
                "req",
                "-new",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-keyout",
                &leaf,
                "-out",
                &request,
                "-subj",
                "/CN=hosts",
            ],
            &at,
        );
        let out = format!("{root}.pem");
        openssl(
            &[
                "x509",
                "-req",
                "-in",
                &request,
                "-CA",
                &cert,
                "-CAkey",
                &key,
                "-CAcreateserial",
                "-days",
                "20",
                "-extfile",
                "names",
                "-out",
                &out,
            ],
            &at,
        );
    }
    fs::write(at.join("index"), "").unwrap();
    fs::write(at.join("serial"), "77\n").unwrap();
    let config = "[ca]\ndefault_ca=c\n[c]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n";
    fs::write(at.join("ca.cnf"), config).unwrap();
    openssl(
        &[
            "ca",
            "-batch",
            "-config",
            "ca.cnf",
            "-cert",
            "good-root.pem",
            "-keyfile",
            "good-root.key",
            "-in",
            "good.csr",
            "-out",
            "old.pem",
            "-startdate",
            "20200101000000Z",
            "-enddate",
            "20210101000000Z",
            "-extfile",
            "names",
            "-notext",
        ],
        &at,
    );
    (tmp, at)
});

/// A small internet on which all is well.
fn well() -> Value {
    let at = KEYS.1.display().to_string();
    let mut names = json!({});
    let mut hosts = json!({});
    for (name, address) in HOSTS.iter().zip(ADDRESSES) {
        names[name] = json!([address]);
        hosts[address] =
            json!([{"port": 443, "cert": format!("{at}/good.pem"), "key": format!("{at}/good.key")}]);
    }
    hosts[ADDRESSES[4]] = json!([{"port": 80, "status": 204}]);
    json!({"names": names, "hosts": hosts})
}

fn with_key(scene: &mut Value, address: &str, cert: &str, key: &str) {
    let at = KEYS.1.display().to_string();
    scene["hosts"][address][0]["cert"] = json!(format!("{at}/{cert}"));
    scene["hosts"][address][0]["key"] = json!(format!("{at}/{key}"));
}

struct Said {
    document: Value,
    stderr: String,
    took: Duration,
    /// What reached a host.
    asked: String,
    /// The system calls that reach the network, when they were traced.
    trace: String,
}

fn triage(scene: &Value, traced: bool, env: &[(&str, &str)]) -> Said {
    let run = Run::new();
    let folder = run.home_path().parent().unwrap().to_path_buf();
    let file = folder.join("scene.json");
    fs::write(&file, scene.to_string()).unwrap();
    fs::write(folder.join("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n").unwrap();
    fs::write(folder.join("hosts"), "127.0.0.1 localhost\n").unwrap();
    let command = run.command(["triage", "--online", "--region", "US", "--format", "json"]);
    let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/net.py");
    let script = "set -e; ip link set lo up; for a in $ADDRESSES; do ip addr add $a/32 dev lo; done; ip route add default dev lo; \
        mount --bind $FOLDER/resolv.conf /etc/resolv.conf; mount --bind $FOLDER/hosts /etc/hosts; \
        coproc python3 $SERVER $FOLDER/scene.json; read -r ready <&${COPROC[0]}; pid=$COPROC_PID; set +e; \
        $TRACE \"$@\" >$FOLDER/out 2>$FOLDER/err </dev/null; kill $pid";
    let mut all = Command::new("unshare");
    all.args(["-n", "-m", "bash", "-c", script, "bash"]).arg(command.get_program()).args(command.get_args());
    all.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", run.home_path());
    all.env("ADDRESSES", ADDRESSES.join(" ")).env("FOLDER", &folder).env("SERVER", server);
    all.env("SSL_CERT_FILE", KEYS.1.join("good-root.pem")).env("TZ", "America/Chicago");
    all.envs(env.iter().copied());
    let trace = folder.join("trace");
    all.env(
        "TRACE",
        if traced {
            format!("strace -f -e trace=%network -s 200 -o {}", trace.display())
        } else {
            String::new()
        },
    );
    let began = Instant::now();
    let out = all.stdin(Stdio::null()).output().unwrap();
    let took = began.elapsed();
    let read =
        |name: &str| String::from_utf8_lossy(&fs::read(folder.join(name)).unwrap_or_default()).into_owned();
    let said = read("out");
    let document = serde_json::from_str(&said)
        .unwrap_or_else(|e| panic!("{e}: {said}{}{}", read("err"), String::from_utf8_lossy(&out.stderr)));
    Said { document, stderr: read("err"), took, asked: read("scene.json.asked"), trace: read("trace") }
}

fn points(document: &Value) -> Vec<String> {
    let all = document["statements"].as_array().unwrap().iter();
    let all = all.filter(|s| s["answer"] == "found" || s["answer"] == "hint");
    all.map(|s| s["code"].as_str().unwrap().to_owned()).collect()
}

type Scene = (&'static str, fn(&mut Value));

const SCENES: &[Scene] = &[
    ("", |_| {}),
    // Reached, and no word on the shop.
    ("", |s| s["hosts"][ADDRESSES[0]][0]["status"] = json!(403)),
    ("dns.blocked", |s| s["names"][SELLER] = json!(["0.0.0.0"])),
    ("dns.blocked", |s| s["names"]["www.tiktok.com"] = json!(["192.168.1.1"])),
    ("dns.shop-missing", |s| s["names"][SELLER] = json!("nowhere")),
    ("dns.shop-missing", |s| s["names"][SELLER] = json!("refused")),
    ("dns.fails", |s| s["names"] = json!({"*": "silent"})),
    ("dns.makes-up", |s| s["names"]["*"] = json!([ADDRESSES[2]])),
    ("network.captive-portal", |s| s["hosts"][ADDRESSES[4]][0]["status"] = json!(302)),
    ("network.captive-portal", |s| s["hosts"][ADDRESSES[4]][0]["status"] = json!(200)),
    ("tls.intercepted", |s| {
        for address in &ADDRESSES[..4] {
            with_key(s, address, "bad.pem", "bad.key");
        }
    }),
    ("tls.intercepted", |s| with_key(s, ADDRESSES[0], "bad.pem", "bad.key")),
    ("clock.certificates", |s| {
        for address in &ADDRESSES[..4] {
            with_key(s, address, "old.pem", "good.key");
        }
    }),
    ("clock.wrong", |s| {
        for address in ADDRESSES {
            s["hosts"][address][0]["date"] = json!(3 * 86_400);
        }
    }),
    ("clock.off", |s| {
        for address in ADDRESSES {
            s["hosts"][address][0]["date"] = json!(-1000);
        }
    }),
    // The date of one host alone is its own.
    ("", |s| s["hosts"][ADDRESSES[1]][0]["date"] = json!(3 * 86_400)),
    ("outage.errors", |s| {
        s["hosts"][ADDRESSES[0]][0]["status"] = json!(503);
        s["hosts"][ADDRESSES[1]][0]["status"] = json!(503);
    }),
    ("outage.unreachable", |s| {
        s["hosts"][ADDRESSES[0]][0]["reset"] = json!(true);
        s["hosts"][ADDRESSES[1]][0]["reset"] = json!(true);
    }),
    ("outage.unreachable", |s| {
        s["names"][SELLER] = json!([NOBODY]);
        s["names"]["www.tiktok.com"] = json!([NOBODY]);
    }),
    // One of the two is enough to say that it is reached.
    ("", |s| s["hosts"][ADDRESSES[0]][0]["reset"] = json!(true)),
    ("network.unreachable", |s| {
        for name in HOSTS {
            s["names"][name] = json!([NOBODY]);
        }
    }),
];

#[test]
fn what_fails_on_the_way_is_told_apart() {
    if !can("what_fails_on_the_way_is_told_apart") {
        return;
    }
    for (n, (code, change)) in SCENES.iter().enumerate() {
        let mut scene = well();
        change(&mut scene);
        let said = triage(&scene, false, &[]);
        let wanted: Vec<&str> = Some(*code).filter(|c| !c.is_empty()).into_iter().collect();
        assert_eq!(points(&said.document), wanted, "scene {n}: {:#}", said.document["statements"]);
        assert!(said.took < AN_END, "scene {n} took {:?}", said.took);
        // Of the platform nothing good is ever said.
        let outage = &said.document["causes"][5];
        assert!(
            ["not-looked-at", "nothing-found", "hint"].contains(&outage["answer"].as_str().unwrap()),
            "{outage}"
        );
    }
}

#[test]
fn everything_may_hang_and_it_ends() {
    if !can("everything_may_hang_and_it_ends") {
        return;
    }
    let mut scene = well();
    for address in ADDRESSES {
        scene["hosts"][address][0]["silent"] = json!(true);
    }
    let said = triage(&scene, false, &[]);
    assert!(said.took < AN_END, "{:?}", said.took);
    assert_eq!(points(&said.document), ["network.unreachable"], "{:#}", said.document["statements"]);
}

#[test]
fn only_those_that_are_named_are_asked_and_nothing_is_told_of_the_person() {
    if !can("only_those_that_are_named_are_asked_and_nothing_is_told_of_the_person") {
        return;
    }
    let said = triage(&well(), true, &[]);
    assert!(
        said.stderr.contains("Asking over the network: seller-us.tiktok.com, www.tiktok.com"),
        "{}",
        said.stderr
    );
    for host in HOSTS {
        assert!(said.stderr.contains(host), "{host} was not named: {}", said.stderr);
    }
    // Every connection goes to the resolver or to one of these.
    let reaching: Vec<&str> =
        said.trace.lines().filter(|l| l.contains("connect(") && l.contains("AF_INET")).collect();
    assert!(reaching.len() >= HOSTS.len(), "{}", said.trace);
    for call in reaching {
        let own =
            ADDRESSES.iter().any(|a| call.contains(&format!("\"{a}\""))) || call.contains("\"127.0.0.1\"");
        assert!(own, "{call}");
    }
    assert!(said.asked.contains("HEAD / HTTP/1.1") && said.asked.contains("shopmend/"), "{}", said.asked);
    for private in ["cookie", "authorization", "referer", "root", "/tmp"] {
        assert!(!said.asked.to_lowercase().contains(private), "{private} in {}", said.asked);
    }
}

#[test]
fn a_proxy_is_used_where_one_is_set() {
    if !can("a_proxy_is_used_where_one_is_set") {
        return;
    }
    // It answers everything itself, and so is no way to the shop.
    let mut scene = well();
    scene["hosts"][ADDRESSES[3]] = json!([{"port": 3128, "status": 407}]);
    let proxy = format!("http://{}:3128", ADDRESSES[3]);
    let said = triage(&scene, false, &[("https_proxy", &proxy), ("http_proxy", &proxy)]);
    assert!(said.asked.contains("CONNECT seller-us.tiktok.com:443"), "{}", said.asked);
    assert!(
        points(&said.document).contains(&"network.proxy".to_owned()),
        "{:#}",
        said.document["statements"]
    );
}

/// A phone's network is its own: this computer's tells nothing of it.
#[test]
fn the_network_of_another_device_is_not_asked_for() {
    let run = Run::new();
    run.call(["triage", "--online", "--device", "x"]).expect(shopmend::exit::Exit::Usage);
    run.call(["triage", "--online", "--image", "/tmp"]).expect(shopmend::exit::Exit::Usage);
}
