//! What a phone is asked. Every command reads and changes nothing; each has a
//! time limit and a size at which its answer is cut.

use crate::place::adb::{Question, quoted};

/// Asks for the phone's clock, by itself and twice bracketed by this
/// computer's, so that the difference is known to a second.
pub const CLOCK: &str = "date '+epoch=%s'";

/// One question for a phone.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// Its name; with the app behind it when it is asked of each.
    pub name: &'static str,
    /// The command; `@` stands for the app.
    command: &'static str,
    /// Whether it is asked of each app.
    pub each: bool,
    /// The bytes at which the answer is cut.
    pub most: usize,
}

/// What most answers stay far below.
const KIB: usize = 1024;

const fn one(name: &'static str, command: &'static str) -> Probe {
    Probe { name, command, each: false, most: 256 * KIB }
}

const fn each(name: &'static str, command: &'static str) -> Probe {
    Probe { each: true, ..one(name, command) }
}

const fn log(name: &'static str, command: &'static str) -> Probe {
    Probe { most: 1024 * KIB, ..one(name, command) }
}

/// Every probe. Of the connectivity service only the lines that are read leave
/// the phone; its policies, which hold the numbers of SIM cards, are not asked
/// for, nor are accounts, the networks that were seen, or notifications.
const PROBES: &[Probe] = &[
    one(
        "connectivity",
        "dumpsys -t 4 connectivity | grep -E 'NetworkAgentInfo|Active default network|Status for known UIDs|UID=|Permission Denial|TIMEOUT|find service'",
    ),
    one("dnsresolver", "dumpsys -t 4 dnsresolver"),
    one(
        "settings",
        "for k in global/airplane_mode_on global/wifi_on global/mobile_data global/data_roaming global/auto_time \
         global/auto_time_zone global/private_dns_mode global/private_dns_specifier global/http_proxy global/low_power \
         global/always_finish_activities secure/always_on_vpn_app secure/always_on_vpn_lockdown; do \
         print -r -- \"$k=$(settings get ${k%%/*} ${k#*/})\"; done",
    ),
    one(
        "properties",
        "for k in gsm.sim.operator.iso-country gsm.operator.iso-country persist.sys.timezone persist.sys.locale \
         ro.product.locale ro.product.cpu.abilist ro.build.version.security_patch; do \
         print -r -- \"$k=$(getprop $k)\"; done",
    ),
    one("netpolicy", "cmd netpolicy get restrict-background"),
    one("webview", "dumpsys -t 4 webviewupdate"),
    one("diskstats", "dumpsys -t 4 diskstats"),
    one("memory", "cat /proc/meminfo"),
    each("package", "dumpsys -t 4 package @"),
    each("exits", "dumpsys -t 4 activity exit-info @"),
    // The one probe that runs code in the app: it only reads, and is sent once.
    each("databases", "dumpsys -t 6 dbinfo @"),
    each("background", "cmd appops get --user 0 @ RUN_ANY_IN_BACKGROUND"),
    each("bucket", "am get-standby-bucket --user 0 @"),
    // One tag a call, since every word must match; which of the two an app's
    // entries have depends on whether it came with the phone.
    one("drop-data-crash", "dumpsys -t 4 dropbox --print data_app_crash"),
    one("drop-data-anr", "dumpsys -t 4 dropbox --print data_app_anr"),
    one("drop-data-native", "dumpsys -t 4 dropbox --print data_app_native_crash"),
    one("drop-system-crash", "dumpsys -t 4 dropbox --print system_app_crash"),
    one("drop-system-anr", "dumpsys -t 4 dropbox --print system_app_anr"),
    one("drop-system-native", "dumpsys -t 4 dropbox --print system_app_native_crash"),
    one("log-buffers", "logcat -g -b main,events,crash"),
    // The newest lines stand last.
    log(
        "log-events",
        "logcat -b events -d -v epoch -v uid -s am_crash am_anr am_proc_start sqlite_db_corrupt | tail -c 1000000",
    ),
    log(
        "log-main",
        "logcat -b main -d -v epoch -v uid -s SQLiteLog DefaultDatabaseErrorHandler SupportSQLite SQLiteDatabase \
         | tail -c 1000000",
    ),
    log("log-crash", "logcat -b crash -d -v epoch -v uid | tail -c 1000000"),
];

/// Every probe.
#[must_use]
pub fn probes() -> &'static [Probe] {
    PROBES
}

impl Probe {
    /// What it is called among the answers.
    #[must_use]
    pub fn named(&self, app: &str) -> String {
        if self.each { format!("{} {app}", self.name) } else { self.name.to_owned() }
    }

    /// The question, of `app` where it is one of each.
    #[must_use]
    pub fn question(&self, app: &str) -> Question {
        let app_word = String::from_utf8_lossy(&quoted(app.as_bytes())).into_owned();
        let command = if self.each { self.command.replace('@', &app_word) } else { self.command.to_owned() };
        Question { name: self.named(app), command, most: self.most }
    }
}

/// What [`CLOCK`] printed.
#[must_use]
pub fn clock_seconds(text: &[u8]) -> Option<i64> {
    String::from_utf8_lossy(text).trim().strip_prefix("epoch=")?.parse().ok()
}
