//! What can be planted on a phone: each gives one cause, and no other.

use shopmend::triage::Cause;

use super::{APP, Canned, DAY, Maker, PID, UID, app};

/// Something wrong with a phone.
pub struct Plant {
    /// The code that it must lead to.
    pub code: &'static str,
    pub cause: Cause,
    /// Puts it on the phone; false where this shape cannot show it.
    pub put: fn(&mut Canned) -> bool,
}

const CORRUPT: &str = "database disk image is malformed (code 11 SQLITE_CORRUPT)";
const VALID: &str = "NOT_METERED&INTERNET&NOT_VPN&VALIDATED";
/// A mobile network.
const METERED: &str = "INTERNET&NOT_VPN&VALIDATED";
const USER: &str =
    "User 0: ceDataInode=1 installed=true hidden=false suspended=false stopped=false enabled=0 instant=false";

const fn plant(code: &'static str, cause: Cause, put: fn(&mut Canned) -> bool) -> Plant {
    Plant { code, cause, put }
}

fn setting(canned: &mut Canned, from: &str, to: &str) -> bool {
    let text = canned.all["settings"].replace(from, to);
    canned.set("settings", text);
    true
}

fn property(canned: &mut Canned, from: &str, to: &str) -> bool {
    let text = canned.all["properties"].replace(from, to);
    canned.set("properties", text);
    true
}

fn user(canned: &mut Canned, from: &str, to: &str) -> bool {
    let now = canned.now;
    canned.package(now - 12 * DAY, &USER.replace(from, to));
    true
}

fn main_log(canned: &mut Canned, text: &str) -> bool {
    let line = canned.line('E', text);
    canned.add("log-main", &line);
    true
}

pub const PLANTS: &[Plant] = &[
    // Connectivity
    plant("network.airplane", Cause::Connectivity, |c| {
        c.set("connectivity", "Active default network: none\nStatus for known UIDs:\n".into());
        setting(c, "airplane_mode_on=0", "airplane_mode_on=1")
    }),
    plant("network.none", Cause::Connectivity, |c| {
        c.set("connectivity", "Active default network: none\nStatus for known UIDs:\n".into());
        true
    }),
    plant("network.captive-portal", Cause::Connectivity, |c| {
        c.network("NOT_METERED&INTERNET&NOT_VPN&CAPTIVE_PORTAL", "");
        true
    }),
    plant("network.partial", Cause::Connectivity, |c| {
        c.network("NOT_METERED&INTERNET&NOT_VPN&PARTIAL_CONNECTIVITY", "");
        true
    }),
    plant("network.not-validated", Cause::Connectivity, |c| {
        c.network("NOT_METERED&INTERNET&NOT_VPN", "");
        true
    }),
    plant("dns.private-broken", Cause::Connectivity, |c| {
        let words = if c.shape.api <= 30 { "Private DNS is broken" } else { "PrivateDnsBroken" };
        c.network("NOT_METERED&INTERNET&NOT_VPN", "");
        let text = c.all["connectivity"].replace("NetworkAgentInfo{", &format!("NetworkAgentInfo{{{words} "));
        c.set("connectivity", text);
        true
    }),
    plant("dns.private-filter", Cause::Connectivity, |c| {
        setting(c, "private_dns_mode=opportunistic", "private_dns_mode=hostname")
            && setting(c, "private_dns_specifier=null", "private_dns_specifier=planted-id.dns.nextdns.io")
    }),
    plant("dns.no-answer", Cause::Connectivity, |c| {
        let text = "NetId: 101\n  Private DNS mode: OFF\n  10.77.66.55 (23, 0, 1, 22, 0, 31ms, 5s) BROKEN\n";
        c.set("dnsresolver", text.into());
        true
    }),
    plant("network.proxy", Cause::Connectivity, |c| {
        setting(c, "http_proxy=:0", "http_proxy=planted.proxy.example:8080")
    }),
    plant("network.vpn", Cause::Connectivity, |c| {
        let vpn = "NetworkAgentInfo{network{102}  ni{VPN CONNECTED extra: }  nc{[ Transports: WIFI|VPN Capabilities: INTERNET&VALIDATED \
            OwnerUid: 10300]}}\n";
        c.network(VALID, vpn);
        true
    }),
    plant("network.lockdown-vpn", Cause::Connectivity, |c| {
        c.blocked(0x10, "NONE");
        c.shape.api > 30
    }),
    plant("network.vpn-required", Cause::Connectivity, |c| {
        setting(c, "always_on_vpn_app=null", "always_on_vpn_app=com.planted.vpn")
            && setting(c, "always_on_vpn_lockdown=0", "always_on_vpn_lockdown=1")
    }),
    plant("network.restricted-mode", Cause::Connectivity, |c| {
        c.blocked(0x8, "NONE");
        c.shape.api > 30
    }),
    plant("network.metered-forbidden", Cause::Connectivity, |c| {
        c.network(METERED, "");
        c.blocked(0x4_0000, "NONE");
        c.shape.api > 30
    }),
    plant("network.background-data", Cause::Connectivity, |c| {
        c.network(METERED, "");
        c.blocked(0x2_0000, "REJECT_METERED");
        true
    }),
    plant("network.data-saver", Cause::Connectivity, |c| {
        c.network(METERED, "");
        c.blocked(0x1_0000, "NONE");
        c.shape.api > 30
    }),
    plant("network.battery-saver", Cause::Connectivity, |c| {
        c.blocked(0x1, "REJECT_ALL");
        true
    }),
    plant("app.background-restricted", Cause::Connectivity, |c| {
        c.set(&app("background"), "Uid mode: RUN_ANY_IN_BACKGROUND: ignore\n".into());
        true
    }),
    plant("app.background-restricted", Cause::Connectivity, |c| {
        c.set(&app("bucket"), "45\n".into());
        true
    }),
    plant("app.keeps-no-screens", Cause::Connectivity, |c| {
        setting(c, "always_finish_activities=0", "always_finish_activities=1")
    }),
    plant("network.data-saver-on", Cause::Connectivity, |c| {
        c.set("netpolicy", "Restrict background status: enabled\n".into());
        true
    }),
    plant("network.battery-saver-on", Cause::Connectivity, |c| setting(c, "low_power=0", "low_power=1")),
    plant("network.data-saver", Cause::Connectivity, |c| {
        c.set("netpolicy", "Restrict background status: enabled\n".into());
        // Wi-Fi, on which it does not hold now.
        c.blocked(0x1_0000, "NONE");
        c.shape.api > 30
    }),
    plant("network.metered-forbidden", Cause::Connectivity, |c| {
        c.blocked(0x4_0000, "NONE");
        c.shape.api > 30
    }),
    plant("network.vpn", Cause::Connectivity, |c| {
        // The phone names the VPN as its default.
        let vpn = "NetworkAgentInfo{network{102}  ni{VPN CONNECTED extra: }  nc{[ Transports: VPN Capabilities: INTERNET&VALIDATED]}}\n";
        c.network(VALID, vpn);
        let text =
            c.all["connectivity"].replace("Active default network: 101", "Active default network: 102");
        c.set("connectivity", text);
        true
    }),
    plant("network.captive-portal", Cause::Connectivity, |c| {
        let flag = if c.shape.api <= 30 {
            "lastCaptivePortalDetected{true}"
        } else {
            "currentCaptivePortalDetected T"
        };
        c.network("NOT_METERED&INTERNET&NOT_VPN", "");
        let text = c.all["connectivity"].replace("NetworkAgentInfo{", &format!("NetworkAgentInfo{{{flag} "));
        c.set("connectivity", text);
        true
    }),
    // App, WebView and system
    plant("app.disabled", Cause::Outdated, |c| user(c, "enabled=0", "enabled=3")),
    plant("app.suspended", Cause::Outdated, |c| user(c, "suspended=false", "suspended=true")),
    plant("app.stopped", Cause::Outdated, |c| user(c, "stopped=false", "stopped=true")),
    plant("app.not-installed", Cause::Outdated, |c| user(c, "installed=true", "installed=false")),
    plant("app.not-installed", Cause::Outdated, |c| {
        c.set(&app("package"), format!("Unable to find package: {APP}\n"));
        true
    }),
    plant("app.incomplete", Cause::Outdated, |c| {
        let text = c.all[&app("package")]
            .replace("splits=[base, config.arm64_v8a]", "splits=[base]")
            .replace("primaryCpuAbi=arm64-v8a", "primaryCpuAbi=null")
            .replace("installerPackageName=com.android.vending", "installerPackageName=null");
        c.set(&app("package"), text);
        true
    }),
    plant("app.no-webview", Cause::Outdated, |c| {
        c.set("webview", "Current WebView Update Service state\n  Current WebView package is null\n".into());
        true
    }),
    plant("app.webview-old", Cause::Outdated, |c| {
        let text = "  Current WebView package (name, version): (com.google.android.webview, 83.0.4103.106)\n";
        c.set("webview", text.into());
        true
    }),
    plant("app.old", Cause::Outdated, |c| {
        let now = c.now;
        c.package(now - 200 * DAY, USER);
        true
    }),
    plant("device.system-old", Cause::Outdated, |c| {
        let lines = c.all["properties"].lines().filter(|l| !l.contains("security_patch"));
        let text = lines.collect::<Vec<_>>().join(
            "
",
        ) + "
";
        c.set("properties", text + "ro.build.version.security_patch=2019-03-05\n");
        true
    }),
    plant("app.crashes-since-update", Cause::Outdated, |c| {
        let now = c.now;
        c.exits(&[(now - DAY, 4), (now - 2 * DAY, 5), (now - 3 * DAY, 7)]);
        c.shape.api > 29
    }),
    // Region
    plant("region.roaming", Cause::Region, |c| {
        property(c, "gsm.operator.iso-country=us,", "gsm.operator.iso-country=mx,")
    }),
    plant("region.zone", Cause::Region, |c| property(c, "America/Chicago", "Asia/Jakarta")),
    // Data
    plant("app.crashes", Cause::Data, |c| {
        let now = c.now;
        c.package(now - 2 * DAY, USER);
        c.exits(&[(now - DAY, 4), (now - 3 * DAY, 4), (now - 4 * DAY, 5)]);
        c.shape.api > 29
    }),
    plant("app.crashes", Cause::Data, |c| {
        let now = c.now;
        c.package(now - DAY / 2, USER);
        for n in 1..4 {
            c.drop("data-crash", now - n * DAY, APP, "java.lang.IllegalStateException: planted user text");
        }
        true
    }),
    plant("app.crashes", Cause::Data, |c| {
        for _ in 0..3 {
            let text = format!(
                "am_crash: [0,{PID},{APP},551,java.lang.NullPointerException,planted text,Secret.java,12]"
            );
            let line = c.line('I', &text);
            c.add("log-events", &line);
        }
        true
    }),
    plant("app.hangs", Cause::Data, |c| {
        let now = c.now;
        c.exits(&[(now - DAY, 6), (now - 2 * DAY, 6), (now - 3 * DAY, 6)]);
        c.shape.api > 29
    }),
    plant("app.killed-for-memory", Cause::Data, |c| {
        let now = c.now;
        c.exits(&[(now - DAY, 3), (now - 2 * DAY, 3), (now - 3 * DAY, 3), (now - 4 * DAY, 3)]);
        c.shape.api > 29
    }),
    plant("data.failing", Cause::Data, |c| {
        c.databases(&[CORRUPT], "");
        true
    }),
    plant("data.failing", Cause::Data, |c| {
        c.databases(&["file is not a database (code 26 SQLITE_NOTADB)"], "");
        true
    }),
    plant("data.renewed", Cause::Data, |c| {
        let line = c
            .line('I', &format!("sqlite_db_corrupt: /data/user/0/{APP}/databases/7012345678901234567_im.db"));
        c.add("log-events", &line);
        true
    }),
    plant("data.renewed", Cause::Data, |c| {
        main_log(
            c,
            &format!(
                "DefaultDatabaseErrorHandler: deleting the database file: /data/user/0/{APP}/databases/x.db"
            ),
        )
    }),
    plant("data.renewed", Cause::Data, |c| {
        main_log(
            c,
            &format!(
                "SupportSQLite: Corruption reported by sqlite on database: /data/data/{APP}/databases/y.db.path"
            ),
        )
    }),
    plant("data.reported", Cause::Data, |c| {
        main_log(c, "SQLiteLog: (11) database corruption at line 72932 of [18bda13e19]")
    }),
    plant("data.reported", Cause::Data, |c| {
        let now = c.now;
        let text = format!("android.database.sqlite.SQLiteDatabaseCorruptException: {CORRUPT}");
        // A preinstalled app's reports go by another name.
        let tag = if c.shape.maker == Maker::Samsung { "system-crash" } else { "data-crash" };
        c.drop(tag, now - DAY, APP, &text);
        true
    }),
    plant("data.reported", Cause::Data, |c| {
        let (a, b) = (
            format!("AndroidRuntime: Process: {APP}, PID: {PID}"),
            format!("AndroidRuntime: Caused by: x: {CORRUPT}"),
        );
        let lines =
            [c.line('E', "AndroidRuntime: FATAL EXCEPTION: main"), c.line('E', &a), c.line('E', &b)].concat();
        c.add("log-crash", &lines);
        true
    }),
    plant("data.reported", Cause::Data, |c| {
        // Without user ids, as some logs are: the app's process is known from itself.
        c.set("log-events", "--------- beginning of events\n".into());
        let line = format!("{}.001  {PID}  4260 E SQLiteLog: (267) database corruption\n", c.now - 60);
        c.add("log-main", &line);
        true
    }),
    plant("device.disk-full-reported", Cause::Data, |c| {
        c.databases(&["database or disk is full (code 13 SQLITE_FULL)"], "");
        true
    }),
    plant("data.io-errors", Cause::Data, |c| {
        c.databases(&["disk I/O error (code 1802 SQLITE_IOERR_FSTAT)"], "");
        true
    }),
    plant("data.large-log", Cause::Data, |c| {
        let files = "  orders.db                 4096b ctime=x mtime=x\n  orders.db-wal        134217728b ctime=x mtime=x\n";
        c.databases(&[], files);
        true
    }),
    plant("data.large-cache", Cause::Data, |c| {
        let text = c.all["diskstats"].replace("[52428800,7]", "[3221225472,7]");
        c.set("diskstats", text);
        true
    }),
    plant("device.disk-full", Cause::Data, |c| {
        c.disk(812, 112_000_000);
        true
    }),
    plant("device.disk-low", Cause::Data, |c| {
        c.disk(1_000_000, 112_000_000);
        true
    }),
    plant("device.disk-fails", Cause::Data, |c| {
        let text = c.all["diskstats"]
            .replace("Latency: 1ms [512B Data Write]", "Test-Error: java.io.IOException: write failed");
        c.set("diskstats", text);
        true
    }),
    plant("device.memory-low", Cause::Data, |c| {
        c.set("memory", "MemTotal:        7823456 kB\nMemAvailable:      12345 kB\n".into());
        true
    }),
];

/// Lines and entries of other apps, which must never count.
pub fn others(c: &mut Canned) {
    let now = c.now;
    for n in 1..6 {
        c.drop(
            "data-crash",
            now - n * 3600,
            "com.planted.bank",
            &format!("android.database.sqlite.SQLiteDatabaseCorruptException: {CORRUPT}"),
        );
    }
    let (uid, pid) = (UID + 1, PID + 1);
    let lines = format!(
        "{now}.001 {uid}  {pid}  {pid} I sqlite_db_corrupt: /data/user/0/com.planted.bank/databases/z.db\n\
         {now}.002 {uid}  {pid}  {pid} I am_crash: [0,{pid},com.planted.bank,551,x,y,z,1]\n"
    );
    c.add("log-events", &lines.repeat(4));
    c.add(
        "log-main",
        &format!("{now}.003 {uid}  {pid}  {pid} E SQLiteLog: (11) database corruption at line 1 of [x]\n"),
    );
    let crash = format!(
        "{now}.004 {uid}  {pid}  {pid} E AndroidRuntime: Process: com.planted.bank, PID: {pid}\n{now}.005 {uid}  {pid}  {pid} E AndroidRuntime: x: {CORRUPT}\n"
    );
    c.add("log-crash", &crash);
    c.add("connectivity", &format!("  UID={uid} blockedReasons=10\n"));
}
