//! The command line: what can be asked for, and its help. No logic.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::model::Platform;
pub(crate) use crate::place::{OnDevice, Request as Where};
use crate::plan::Only;
use crate::schedule::{At, Scheduler};
use crate::triage::Markets;

/// Checks and repairs the local data of TikTok Shop (Seller Center), TikTok
/// and the browsers they run in, without losing anything.
///
/// Without a command it scans this machine and, on a terminal, offers the
/// repair. Nothing is changed before you agree, and every repair can be undone
/// with `shopmend undo`.
#[derive(Debug, Parser)]
#[command(
    name = "shopmend",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 healthy or repaired · 1 findings · 3 some things skipped · 4 rolled back · 5 failed ·\n\
                  10 another run is active · 11 the app is running · 12 no device · 13 bad profile · 64 usage · 130 interrupted"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Folder for backups, journals and the baseline
    #[arg(long, value_name = "DIR", global = true, env = "SHOPMEND_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// When to use colour
    #[arg(long, value_name = "WHEN", global = true, default_value = "auto")]
    pub(crate) color: Color,
    /// Print less: only problems and the result
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Print more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Append what happens to a file, one JSON object a line
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) log: Option<PathBuf>,
    /// Work also where it cannot be told whether an app has the files open (network disks,
    /// containers, a lock of another computer): you know that none has
    #[arg(long, global = true)]
    pub(crate) not_in_use: bool,
    /// Configuration file instead of the one in the configuration folder
    #[arg(long, value_name = "FILE", global = true, env = "SHOPMEND_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    Always,
    Never,
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
    Html,
}

/// How to report.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Report")]
pub(crate) struct Report {
    /// Format of the report
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
    /// Write the report to a file; the terminal shows the summary
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

/// How closely to look.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Depth {
    /// Verify every checksum and page of caches as well, and have SQLite check its files
    #[arg(long, conflicts_with = "fast")]
    pub(crate) deep: bool,
    /// Check state and user data by structure alone, as caches are
    #[arg(long)]
    pub(crate) fast: bool,
    /// Read every file again, also those that have not changed since the last scan
    #[arg(long)]
    pub(crate) rehash: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look for damaged and stale data; changes nothing
    Scan {
        #[command(flatten)]
        place: Where,
        #[command(flatten)]
        depth: Depth,
        #[command(flatten)]
        report: Report,
        /// Take this store as it is now: what an earlier scan saw in it is not missed any more
        /// (may be repeated; `all` for every store)
        #[arg(long, value_name = "STORE")]
        accept: Vec<String>,
    },
    /// Back up, clear stale cache, rebuild damaged stores, verify
    Repair(Box<Repair>),
    /// Bring back what a repair changed
    Undo {
        /// The run to undo, as printed by `repair`; the newest one if left out
        run: Option<String>,
        /// Only this store
        #[arg(long, value_name = "ID")]
        store: Option<String>,
        #[command(flatten)]
        device: OnDevice,
        /// Work as root on folders that belong to another user
        #[arg(long)]
        allow_root: bool,
    },
    /// Copy the stores into the vault without repairing anything
    Backup(Backup),
    /// Look after the backups
    Vault {
        /// The backups of an Android device, by the hardware's serial number, or by adb's while
        /// it is attached; it need not be attached, but for putting back what it lost
        #[arg(long, value_name = "SERIAL", global = true)]
        device: Option<String>,
        /// Use root on the device, where it has it, to put back what it lost
        #[arg(long, requires = "device", global = true)]
        root: bool,
        #[command(subcommand)]
        what: Vault,
    },
    /// Bring back the rows of a damaged SQLite database into a new one
    Salvage {
        /// The damaged database; it is never written
        damaged: PathBuf,
        /// The new database; must not exist yet
        #[arg(short, long, value_name = "OUT")]
        output: PathBuf,
        /// A healthy database of the same app, to take a lost schema from
        #[arg(long, value_name = "HEALTHY")]
        schema_from: Option<PathBuf>,
        /// Keep rows with missing or doubtful values out of their tables
        #[arg(long)]
        no_doubtful: bool,
        /// Format of the report
        #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
        format: String,
    },
    /// Check loose files or folders of any app: what they are, whether they are sound
    Check {
        /// Files or folders
        #[arg(required = true, value_name = "FILE_OR_DIR")]
        paths: Vec<PathBuf>,
        /// Verify every checksum and page, and have SQLite check its files as well
        #[arg(long)]
        deep: bool,
        /// Look into archives as well: gzip, zip, tar, zstd, Android backups (.ab)
        #[arg(long)]
        inside: bool,
        /// Format of the report
        #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
        format: String,
    },
    /// Is it this device, and what is it? Looks for each of the nine usual causes and says what
    /// no device can see; changes nothing, and sends nothing over the network without --online
    Triage(Triage),
    /// What can be done on a phone without root, each only when you say so
    #[command(subcommand)]
    Phone(Phone),
    /// List the Android devices that adb sees, and what is in reach on each
    Devices {
        /// Try for root on each
        #[arg(long)]
        root: bool,
        /// Format of the list
        #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
        format: String,
    },
    /// Scan, repair or triage many Android devices at once
    Batch(Batch),
    /// What apps and stores are known, and what may be done to them
    #[command(subcommand)]
    Profile(Profile),
    /// Build a damaged sample device in a temporary folder, then scan, repair, verify and undo it
    Demo {
        /// Keep the sample device and say where it is
        #[arg(long)]
        keep: bool,
    },
    /// Run unattended, by the system's own scheduler
    #[command(subcommand)]
    Schedule(Schedule),
    /// Print a completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// What `backup` takes.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    #[command(flatten)]
    pub(crate) place: Where,
    /// Only this store (may be repeated)
    #[arg(long = "store", value_name = "ID")]
    pub(crate) stores: Vec<String>,
    /// Caches as well, not only state and user data
    #[arg(long)]
    pub(crate) caches: bool,
    /// Ask the app to end instead of refusing while it runs
    #[arg(long)]
    pub(crate) stop_app: bool,
    /// Work as root on folders that belong to another user
    #[arg(long)]
    pub(crate) allow_root: bool,
}

/// What `repair` takes.
#[derive(Debug, Args)]
pub(crate) struct Repair {
    #[command(flatten)]
    pub(crate) place: Where,
    #[command(flatten)]
    pub(crate) depth: Depth,
    #[command(flatten)]
    pub(crate) report: Report,
    /// Show the plan and do nothing
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    /// Do the plan without asking
    #[arg(short = 'y', long)]
    pub(crate) yes: bool,
    /// Only clear stale cache, or only rebuild damaged stores
    #[arg(long, value_name = "WHAT")]
    pub(crate) only: Option<Only>,
    /// Leave what matches this pattern alone (may be repeated)
    #[arg(long, value_name = "GLOB")]
    pub(crate) keep: Vec<String>,
    /// Only this store (may be repeated)
    #[arg(long = "store", value_name = "ID")]
    pub(crate) stores: Vec<String>,
    /// Put the copy that this run holds of the stores in their place instead of repairing them
    #[arg(long, value_name = "RUN", requires = "stores")]
    pub(crate) from_vault: Option<String>,
    /// Put a salvaged database in place though the names of its tables are lost: they are
    /// called table_2, table_4 then, and the app finds none of its own
    #[arg(long)]
    pub(crate) accept_unnamed_tables: bool,
    /// Clear cache entries not used for longer than this, such as 14d, 12h or 2w
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    pub(crate) older_than: Option<Age>,
    /// Free the space of cleared caches for good; they cannot be undone then
    #[arg(long)]
    pub(crate) reclaim: bool,
    /// Ask the app to end instead of refusing while it runs
    #[arg(long)]
    pub(crate) stop_app: bool,
    /// Work as root on folders that belong to another user
    #[arg(long)]
    pub(crate) allow_root: bool,
}

/// What `batch` does on each device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BatchWhat {
    /// Look; change nothing
    Scan,
    /// Back up, clear, rebuild, verify
    Repair,
    /// Look for each of the nine usual causes; change nothing
    Triage,
}

impl BatchWhat {
    /// The word on the command line and in JSON.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Repair => "repair",
            Self::Triage => "triage",
        }
    }
}

/// What `batch` takes.
#[derive(Debug, Args)]
pub(crate) struct Batch {
    /// What to do on each
    pub(crate) what: BatchWhat,
    /// Every attached device
    #[arg(long, required_unless_present = "devices")]
    pub(crate) all_devices: bool,
    /// This device, by adb's or the hardware's serial number (may be repeated)
    #[arg(long = "device", value_name = "SERIAL", conflicts_with = "all_devices")]
    pub(crate) devices: Vec<String>,
    /// How many at once
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<usize>,
    /// Take devices that are plugged in later, too, until none came for so many seconds
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60")]
    pub(crate) wait: Option<u64>,
    /// The longest that one device may take, in minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 60)]
    pub(crate) limit: u64,
    /// Use root on the devices, where they have it
    #[arg(long)]
    pub(crate) root: bool,
    /// Only this app (may be repeated)
    #[arg(long = "app", value_name = "ID")]
    pub(crate) apps: Vec<String>,
    /// A folder of profiles that add to or replace the built-in ones
    #[arg(long, value_name = "DIR")]
    pub(crate) profiles: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) depth: Depth,
    /// Folder for the reports and the summary; the same folder again goes on with what failed
    #[arg(long, value_name = "DIR")]
    pub(crate) report: PathBuf,
}

/// What `triage` takes.
#[derive(Debug, Args)]
pub(crate) struct Triage {
    #[command(flatten)]
    pub(crate) place: Where,
    /// The country of the account's market, such as US or ID, to compare the device's with
    #[arg(long, value_name = "XX", value_parser = parse_region)]
    pub(crate) region: Option<String>,
    /// Ask the network as well: the shop's hosts and a few others, which are named before
    #[arg(long, conflicts_with_all = ["serial", "image"])]
    pub(crate) online: bool,
    /// Show the page on the phone on which the next step is done
    #[arg(long, requires = "serial")]
    pub(crate) open: bool,
    /// Print one line for support: versions and codes, nothing private
    #[arg(long, conflicts_with_all = ["format", "report"])]
    pub(crate) summary: bool,
    #[command(flatten)]
    pub(crate) report: Report,
}

/// The commands for a phone.
#[derive(Debug, Subcommand)]
pub(crate) enum Phone {
    /// Have Android trim the caches of ALL apps and users; it cannot be aimed and not be undone
    TrimCaches {
        #[command(flatten)]
        phone: OnPhone,
    },
    /// Stop an app; it gets no messages until it is opened again
    ForceStop {
        #[command(flatten)]
        phone: OnPhone,
        /// The app
        #[arg(long, value_name = "ID")]
        app: String,
    },
    /// Have Android compile an app's code again; helps only against broken code, takes minutes
    ResetCompiled {
        #[command(flatten)]
        phone: OnPhone,
        /// The app
        #[arg(long, value_name = "ID")]
        app: String,
    },
}

/// Which phone, and whether to ask.
#[derive(Debug, Args)]
pub(crate) struct OnPhone {
    /// The phone, by adb's or the hardware's serial number; the only one if left out
    #[arg(long = "device", value_name = "SERIAL")]
    pub(crate) serial: Option<String>,
    /// Do it without asking
    #[arg(short = 'y', long)]
    pub(crate) yes: bool,
}

/// The vault's commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Vault {
    /// List the runs and what they hold
    List {
        /// Format of the list
        #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
        format: String,
    },
    /// Read every backup and compare it with its hash
    Verify,
    /// Write a run's backups to a folder, or back to where they were
    Restore {
        /// The run
        run: String,
        /// Only this store
        #[arg(long, value_name = "ID")]
        store: Option<String>,
        /// A folder to write them to, instead of their old place
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
        /// Work as root on folders that belong to another user
        #[arg(long, conflicts_with = "to")]
        allow_root: bool,
    },
    /// Delete old backups; the newest healthy copy of a store always stays
    Prune {
        /// Keep this many runs
        #[arg(long, value_name = "N")]
        keep_last: Option<usize>,
        /// Only runs older than this, such as 90d
        #[arg(long, value_name = "AGE", value_parser = parse_age)]
        older_than: Option<Age>,
        /// Delete the oldest until the vault is no larger than this, such as 2GB
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        max_size: Option<u64>,
        /// Show what would be deleted and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Copy a run with its manifest to a folder that needs no shopmend to read
    Export {
        /// The run
        run: String,
        /// The folder; must not exist yet or be empty
        dir: PathBuf,
    },
}

/// The profile commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Profile {
    /// List the apps that are known
    List {
        /// Only of this platform
        #[arg(long, value_name = "PLATFORM")]
        platform: Option<Platform>,
        /// A folder of profiles that add to or replace the built-in ones
        #[arg(long, value_name = "DIR")]
        profiles: Option<PathBuf>,
    },
    /// Show an app's folders and rules
    Show {
        /// The app's id
        app: String,
        /// Only of this platform
        #[arg(long, value_name = "PLATFORM")]
        platform: Option<Platform>,
        /// A folder of profiles that add to or replace the built-in ones
        #[arg(long, value_name = "DIR")]
        profiles: Option<PathBuf>,
    },
    /// Check a profile file
    Validate {
        /// The file
        file: PathBuf,
    },
    /// What lies in the apps' folders under no rule, by size
    CheckCoverage {
        #[command(flatten)]
        place: Where,
    },
    /// Which rule covers a path, and what would be done to it
    Explain {
        /// The path
        path: PathBuf,
        #[command(flatten)]
        place: Where,
    },
}

/// The scheduling commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Schedule {
    /// Print what the system's scheduler needs, for you to install
    Print(SchedulePrint),
}

/// What `schedule print` takes.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("every").required(true))]
pub(crate) struct SchedulePrint {
    /// Every night
    #[arg(long, group = "every")]
    pub(crate) daily: bool,
    /// In the night of each Sunday
    #[arg(long, group = "every")]
    pub(crate) weekly: bool,
    /// In the night of the first of each month
    #[arg(long, group = "every")]
    pub(crate) monthly: bool,
    /// The time of the day
    #[arg(long, value_name = "HH:MM", default_value = "03:30")]
    pub(crate) at: At,
    /// Back up and clear stale cache instead of only looking
    #[arg(long)]
    pub(crate) cleanup: bool,
    /// Only this app (may be repeated)
    #[arg(long = "app", value_name = "ID")]
    pub(crate) apps: Vec<String>,
    /// The scheduler, instead of this system's own
    #[arg(long = "for", value_name = "SCHEDULER")]
    pub(crate) scheduler: Option<Scheduler>,
    /// Write the files into this folder instead; none may be there yet
    #[arg(long, value_name = "DIR")]
    pub(crate) to: Option<PathBuf>,
}

/// A time span in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Age(pub i128);

/// Reads `14d`, `12h`, `2w`, `30m`.
///
/// # Errors
/// When it is no positive whole number with a unit.
pub(crate) fn parse_age(text: &str) -> Result<Age, String> {
    let bad = || format!("{text:?} is no age: write a whole number and a unit, such as 14d, 12h, 2w or 30m");
    let unit = text.chars().last().ok_or_else(bad)?;
    let seconds: i128 = match unit {
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(bad()),
    };
    let number: u32 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| bad())?;
    if number == 0 {
        return Err(format!("{text:?} would take everything: an age must be more than nothing"));
    }
    Ok(Age(i128::from(number) * seconds * 1_000_000_000))
}

/// Reads the code of a market.
fn parse_region(text: &str) -> Result<String, String> {
    let known = Markets::known();
    known.of(text).map(|m| m.code.clone()).ok_or_else(|| {
        let codes: Vec<&str> = known.codes().collect();
        format!("{text:?} is no market of the shop that is known; known are {}", codes.join(", "))
    })
}

/// Reads `2GB`, `500MiB`, `1000`.
fn parse_size(text: &str) -> Result<u64, String> {
    text.parse::<bytesize::ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| format!("{text:?} is no size: write a number and a unit, such as 2GB or 500MiB"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn ages() {
        assert_eq!(parse_age("14d"), Ok(Age(14 * 86_400 * 1_000_000_000)));
        for bad in ["", "d", "0d", "-1d", "14", "14y", "1.5d", "99999999999d", "14é"] {
            assert!(parse_age(bad).is_err(), "{bad}");
        }
    }
}
