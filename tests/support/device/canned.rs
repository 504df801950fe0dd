//! Answers of Android's services that a test lays down as files: a service
//! prints what is in `/etc/canned`, or refuses as the real one does.

/// Defines `canned NAME`: prints that file and ends, when it is there; one of
/// the name `NAME.silent` makes it silent.
pub const PRINT: &str = "canned() { [ -e /etc/canned/$1.silent ] && sleep 3600; [ -e /etc/canned/$1 ] && { cat /etc/canned/$1; exit 0; }; }; ";

/// What `dumpsys` does before what it always did.
pub const DUMPSYS: &str = "[ \"$1\" = -t ] && shift 2; case $1 in connectivity|dnsresolver) canned $1;; webviewupdate) canned webview;; \
    dbinfo) canned databases.$2;; \
    activity) canned exits.$3; echo \"Bad activity command, or no activities match: $2\"; exit 0;; \
    dropbox) case $3 in *_native_crash) k=native;; *_crash) k=crash;; *) k=anr;; esac; \
    case $3 in data_*) canned drop-data-$k;; *) canned drop-system-$k;; esac;; esac; ";

/// `settings get NAMESPACE KEY`, from lines `NAMESPACE/KEY=VALUE`.
pub const SETTINGS: &str = "while IFS= read -r l; do case $l in \"$2/$3=\"*) print -r -- \"${l#*=}\"; exit 0;; esac; done \
    2>/dev/null </etc/canned/settings; echo null; exit 0\n";

/// `logcat`, by the buffer that it is asked for.
pub const LOGCAT: &str = "case $* in *-g*) n=log-buffers;; *'-b events'*) n=log-events;; *'-b main'*) n=log-main;; *) n=log-crash;; esac; \
    [ -e /etc/canned/$n.silent ] && sleep 3600; cat /etc/canned/$n 2>/dev/null; exit 0\n";
