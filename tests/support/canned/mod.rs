//! What Android's services print, in the shapes of its versions and makers, and
//! what they print when something is wrong. All of it is made up.
#![allow(dead_code, unreachable_pub)]

mod plants;

use std::collections::BTreeMap;

pub use plants::{PLANTS, others};

/// The app.
pub const APP: &str = "com.zhiliaoapp.musically";
/// Its user id.
pub const UID: u32 = 10_234;
/// Its main process.
pub const PID: u32 = 4242;
const DAY: i64 = 86_400;

/// Who built the Android.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    Aosp,
    Samsung,
    Graphene,
}

/// What a phone's answers look like.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub name: &'static str,
    pub api: u32,
    pub maker: Maker,
    /// The digit that its language has for nought.
    pub zero: char,
}

const fn shape(name: &'static str, api: u32, maker: Maker, zero: char) -> Shape {
    Shape { name, api, maker, zero }
}

pub const SHAPES: &[Shape] = &[
    shape("29", 29, Maker::Aosp, '0'),
    shape("30", 30, Maker::Aosp, '0'),
    shape("31", 31, Maker::Aosp, '0'),
    shape("33-samsung", 33, Maker::Samsung, '0'),
    shape("34", 34, Maker::Aosp, '0'),
    shape("35-graphene", 35, Maker::Graphene, '0'),
    shape("36-persian", 36, Maker::Aosp, '\u{6f0}'),
];

impl Shape {
    /// Digits as Java prints them in the phone's language.
    pub fn own(&self, text: &str) -> String {
        let digit =
            |c: char| c.to_digit(10).and_then(|n| char::from_u32(u32::from(self.zero) + n)).unwrap_or(c);
        text.chars().map(digit).collect()
    }
}

/// What a phone answers, by the name of the probe.
#[derive(Debug, Clone)]
pub struct Canned {
    pub shape: Shape,
    /// The present, in seconds since 1970.
    pub now: i64,
    pub all: BTreeMap<String, String>,
}

/// A moment as Android's services print it.
pub fn stamp(seconds: i64) -> String {
    let at = jiff::Timestamp::from_second(seconds).unwrap();
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

impl Canned {
    /// A phone with nothing wrong.
    pub fn healthy(shape: Shape, now: i64) -> Self {
        let mut this = Self { shape, now, all: BTreeMap::new() };
        this.network("NOT_METERED&INTERNET&NOT_VPN&VALIDATED", "");
        this.set(
            "dnsresolver",
            "NetId: 101\n  Private DNS mode: OPPORTUNISTIC\n  10.77.66.55 (23, 20, 1, 2, 0, 31ms, 5s)\n"
                .into(),
        );
        this.set("settings", SETTINGS.into());
        this.set("properties", PROPERTIES.replace("PATCH", &stamp(now - 40 * DAY)[..10]));
        this.set("netpolicy", "Restrict background status: disabled\n".into());
        let major = 120 + (now - 1_701_734_400) / (28 * DAY);
        this.set(
            "webview",
            format!(
                "Current WebView Update Service state\n  Fallback logic enabled: true\n  \
                 Current WebView package (name, version): (com.google.android.webview, {major}.0.6099.43)\n"
            ),
        );
        this.disk(56_000_000, 112_000_000);
        this.set(
            "memory",
            "MemTotal:        7823456 kB\nMemFree:          212345 kB\nMemAvailable:    3123456 kB\n".into(),
        );
        this.package(now - 12 * DAY, "User 0: ceDataInode=1 installed=true hidden=false suspended=false stopped=false enabled=0 instant=false");
        this.exits(&[(now - 2 * DAY, 10)]);
        this.databases(&[], "  orders.db                 4096b ctime=2025-10-13T11:40:15Z mtime=x\n");
        this.set(&app("background"), "No operations.\nDefault mode: allow\n".into());
        this.set(&app("bucket"), "10\n".into());
        for tag in ["data-crash", "data-anr", "data-native", "system-crash", "system-anr", "system-native"] {
            this.set(&format!("drop-{tag}"), "Drop box contents: 12 entries\n\n(No entries found.)\n".into());
        }
        this.set(
            "log-buffers",
            "main: ring buffer is 256 KiB (200 KiB consumed, 1 MiB readable), max entry is 5120 B\n\
             events: ring buffer is 256 KiB (90 KiB consumed, 1 MiB readable), max entry is 5120 B\n\
             crash: ring buffer is 256 KiB (4 KiB consumed, 8 KiB readable), max entry is 5120 B\n"
                .into(),
        );
        let start = format!("am_proc_start: [0,{PID},{UID},{APP},activity,{APP}/.Main]");
        this.set("log-events", format!("--------- beginning of events\n{}", this.line('I', &start)));
        this.set("log-main", "--------- beginning of main\n".into());
        this.set("log-crash", String::new());
        if shape.api == 29 {
            this.set(&app("exits"), "Bad activity command, or no activities match: exit-info\n".into());
        }
        this
    }

    pub fn set(&mut self, name: &str, text: String) {
        self.all.insert(name.to_owned(), text);
    }

    pub fn add(&mut self, name: &str, text: &str) {
        self.all.entry(name.to_owned()).or_default().push_str(text);
    }

    /// One line of a log, of the app's own process.
    pub fn line(&self, level: char, tag_and_message: &str) -> String {
        format!("{:>10}.001 {UID}  {PID}  4260 {level} {tag_and_message}\n", self.now - 600)
    }

    /// The networks: capabilities of the default one, and what stands behind.
    pub fn network(&mut self, capabilities: &str, more: &str) {
        let agent = if self.shape.api <= 30 {
            format!(
                "NetworkAgentInfo{{ ni{{[type: WIFI[], state: CONNECTED/CONNECTED, extra: \"PlantedSsid\"]}}  network{{101}}  \
                 nethandle{{437}}  lp{{{{InterfaceName: wlan0 LinkAddresses: [ 10.77.66.44/24 ]}}}}  \
                 nc{{[ Transports: WIFI Capabilities: {capabilities} LinkUpBandwidth>=1Kbps]}}  Score{{60}}  everValidated{{true}}  \
                 lastValidated{{true}} lastCaptivePortalDetected{{false}} partialConnectivity{{false}} }}"
            )
        } else {
            format!(
                "NetworkAgentInfo{{network{{101}}  handle{{437}}  ni{{WIFI CONNECTED extra: }} created=2026-01-05T09:00:00Z  \
                 lp{{{{InterfaceName: wlan0 LinkAddresses: [ 10.77.66.44/24 ]}}}}  nc{{[ Transports: WIFI Capabilities: {capabilities} \
                 TransportInfo: <SSID: \"PlantedSsid\", BSSID: 02:00:5e:10:00:01>]}}  factorySerialNumber=5}}"
            )
        };
        self.set(
            "connectivity",
            format!("Active default network: 101\n{agent}\n{more}Status for known UIDs:\n"),
        );
    }

    /// Why the app is cut off: bits, and Android 11's own words.
    pub fn blocked(&mut self, bits: u32, rules: &str) {
        let line = if self.shape.api <= 30 {
            let number = [("REJECT_METERED", 4), ("REJECT_ALL", 64)]
                .iter()
                .find(|(name, _)| *name == rules)
                .map_or(0, |r| r.1);
            format!("  UID={UID} state=5 (TOP) rules={number} ({rules})\n")
        } else {
            format!("  UID={UID} blockedReasons={bits:x}\n")
        };
        self.add("connectivity", &line);
    }

    pub fn disk(&mut self, free_k: u64, total_k: u64) {
        let percent = free_k * 100 / total_k;
        self.set(
            "diskstats",
            format!(
                "Latency: 1ms [512B Data Write]\nRecent Disk Write Speed (kB/s) = 51200\n\
                 Data-Free: {free_k}K / {total_k}K total = {percent}% free\n\
                 Package Names: [\"{APP}\",\"com.planted.bank\"]\nApp Sizes: [1,2]\nApp Data Sizes: [10,20]\nCache Sizes: [52428800,7]\n"
            ),
        );
    }

    /// How the app is installed.
    pub fn package(&mut self, updated: i64, user: &str) {
        let (id, extra) = match (self.shape.api, self.shape.maker) {
            (..=30, _) => ("userId", ""),
            (_, Maker::Graphene) => ("appId", "    appLockEnabled=false pccCeDataInode=7\n"),
            _ => ("appId", ""),
        };
        let (updated, first) =
            (self.shape.own(&stamp(updated)), self.shape.own(&stamp(self.now - 700 * DAY)));
        let text = format!(
            "Packages:\n  Package [{APP}] (abc123):\n    {id}={UID}\n    pkg=Package{{abc {APP}}}\n    codePath=/data/app/x\n    \
             primaryCpuAbi=arm64-v8a\n    versionCode=2023801020 minSdk=26 targetSdk=34\n    versionName=38.1.2\n    \
             splits=[base, config.arm64_v8a]\n    flags=[ HAS_CODE ALLOW_CLEAR_USER_DATA ]\n    lastUpdateTime={updated}\n    \
             installerPackageName=com.android.vending\n{extra}    {user}\n      firstInstallTime={first}\n\
             Hidden system packages:\n  Package [{APP}] (def456):\n    versionName=12.0.0\n    lastUpdateTime={}\n    \
             User 0: installed=false enabled=3\n",
            self.shape.own("2009-01-01 08:00:00")
        );
        self.set(&app("package"), text);
    }

    /// How the app's processes ended: when, and the reason's number.
    pub fn exits(&mut self, all: &[(i64, u32)]) {
        let mut text = "ACTIVITY MANAGER PROCESS EXIT INFO (dumpsys activity exit-info)\nLast Timestamp of Persistence Into Persistent Storage: 2026-01-05 10:00:00.000\n".to_owned();
        text.push_str(&format!("  package: {APP}\n"));
        let one_a_line = self.shape.api == 30;
        text.push_str(&format!(
            "    Historical Process Exit for {}\n",
            if one_a_line { "userId=0" } else { "uid=10234" }
        ));
        for (n, (at, reason)) in all.iter().enumerate() {
            let at = self.shape.own(&(stamp(*at) + ".120"));
            let fields = [
                format!("timestamp={at}"),
                format!("pid={PID}"),
                format!("realUid={UID}"),
                format!("process={APP}"),
                format!("reason={reason} (SOME NAME)"),
                "subreason=0 (UNKNOWN)".to_owned(),
                "status=0".to_owned(),
                "importance=100".to_owned(),
                "description=planted secret words reason=11".to_owned(),
                "state=empty".to_owned(),
            ];
            text.push_str(&format!("        ApplicationExitInfo #{n}:\n"));
            for part in fields.chunks(if one_a_line { 1 } else { 4 }) {
                text.push_str(&format!("          {}\n", part.join(" ")));
            }
        }
        self.set(&app("exits"), text);
    }

    /// What the app says of its databases: failed operations, and its files.
    pub fn databases(&mut self, failed: &[&str], files: &str) {
        let pid = if self.shape.maker == Maker::Samsung { format!(" [Pid:({PID})]") } else { String::new() };
        let mut text = format!(
            "Applications Database Info:\n\n** Database info for pid {PID} [{APP}] **\n\n\
             Connection pool for /data/user/0/{APP}/databases/7012345678901234567_im.db:{pid}\n  Open: true\n  Max connections: 1\n  \
             Available primary connection:\n    Connection #0:\n      Most recently executed operations:\n        \
             0: [2026-01-05 09:41:07.001] prepare took 0ms - succeeded, sql=\"SELECT * FROM msg WHERE a='planted-literal failed, \
             exception=\\\"database disk image is malformed (code 11)'\", path=x\n"
        );
        for (n, exception) in failed.iter().enumerate() {
            text.push_str(&format!(
                "        {}: [2026-01-05 09:41:08.002] executeForCursorWindow took 1ms - failed, sql=\"SELECT card FROM t WHERE \
                 name='planted-literal'\", path=/data/user/0/{APP}/databases/x.db, exception=\"{exception}\"\n",
                n + 1
            ));
        }
        text.push_str(&format!("\nDatabase files in /data/user/0/{APP}/databases:\n{files}"));
        self.set(&app("databases"), text);
    }

    /// A report of the system about a crash, with its first line.
    pub fn drop(&mut self, tag: &str, at: i64, package: &str, first: &str) {
        let name = tag.replace('-', "_app_");
        let name = if tag.ends_with("native") { name + "_crash" } else { name };
        let text = format!(
            "========================================\n{} {name} (compressed text, 1204 bytes)\nProcess: {package}\nPID: {PID}\n\
             UID: {UID}\nFlags: 0x20c8be44\nPackage: {package} v2023801020 (38.1.2)\nForeground: Yes\nProcess-Runtime: 5120\n\
             Build: brand/name/device:13/ID/1:user/release-keys\n\n{first}\n\tat com.planted.Secret.run(Secret.java:1)\n",
            self.shape.own(&stamp(at))
        );
        let key = format!("drop-{tag}");
        let before = self.all.get(&key).map(|t| t.replace("(No entries found.)\n", "")).unwrap_or_default();
        self.set(&key, before + &text);
    }
}

/// The name of a probe that is asked of each app.
pub fn app(probe: &str) -> String {
    format!("{probe} {APP}")
}

const SETTINGS: &str = "global/airplane_mode_on=0\nglobal/wifi_on=1\nglobal/mobile_data=1\nglobal/data_roaming=0\nglobal/auto_time=1\n\
    global/auto_time_zone=1\nglobal/private_dns_mode=opportunistic\nglobal/private_dns_specifier=null\nglobal/http_proxy=:0\n\
    global/low_power=0\nglobal/always_finish_activities=0\nsecure/always_on_vpn_app=null\nsecure/always_on_vpn_lockdown=0\n";

const PROPERTIES: &str = "gsm.sim.operator.iso-country=us,\ngsm.operator.iso-country=us,\npersist.sys.timezone=America/Chicago\n\
    persist.sys.locale=en-US\nro.product.locale=en-US\nro.product.cpu.abilist=arm64-v8a,armeabi-v7a\nro.build.version.security_patch=PATCH\n";
