//! What a rebuild kept, what of it is doubtful and what is gone, by key.

use serde_json::{Value, json};

use crate::store::Rebuilt;
use crate::store::leveldb::coding::{InternalKey, show_key};
use crate::store::leveldb::order::Order;

/// Ranges that are kept apart; what is lost or doubtful beyond is counted with
/// the last.
pub(super) const MAX_RANGES: usize = 10_000;
/// Ranges that are listed one by one.
const MAX_LISTED: usize = 1000;
/// Records that are guessed to be gone with one range: its length may be a lie.
const MAX_GUESS: f64 = 1e9;
/// Ranges that the notes name.
const MAX_NAMED: usize = 8;

/// Keys of a table that are gone with a block of it, or with all of it.
#[derive(Debug, Default)]
pub(super) struct LostKeys {
    pub(super) table: u64,
    /// Where the block lies; `None` for a whole table.
    pub(super) place: Option<(u64, u64)>,
    /// Internal keys: what is gone lies behind `after`, and not behind `up_to`.
    pub(super) after: Option<Vec<u8>>,
    pub(super) up_to: Option<Vec<u8>>,
    /// Stored bytes that are gone.
    pub(super) bytes: u64,
    /// Records per byte in the rest of the table, when there is a rest.
    pub(super) density: Option<f64>,
    /// How many records were read of it all the same.
    pub(super) salvaged: u64,
    /// How many of the rest another file had.
    pub(super) elsewhere: u64,
}

impl LostKeys {
    /// Whether the key lies between the two. Where the order is not known it may.
    pub(super) fn may_hold(&self, key: InternalKey<'_>, order: Order) -> bool {
        let compare = |other: &Option<Vec<u8>>| {
            let other = InternalKey::parse(other.as_deref()?)?;
            if other.user == key.user {
                return Some(std::cmp::Ordering::Equal);
            }
            order.compare(key, other)
        };
        let (after, up_to) = (compare(&self.after), compare(&self.up_to));
        after != Some(std::cmp::Ordering::Less) && up_to != Some(std::cmp::Ordering::Greater)
    }

    /// How many records are gone, by what is known of the table's others.
    fn records(&self, density: f64) -> u64 {
        let all = self.bytes as f64 * self.density.unwrap_or(density);
        let all = all.round().min(MAX_GUESS) as u64;
        all.saturating_sub(self.salvaged).max(1).saturating_sub(self.elsewhere)
    }
}

/// Operations of writes that are gone.
#[derive(Debug, Default)]
pub(super) struct LostWrites {
    pub(super) log: u64,
    pub(super) at: u64,
    pub(super) bytes: u64,
    /// Their sequence numbers, half-open; `None` when they are not known.
    pub(super) sequences: Option<(u64, u64)>,
    /// The keys that lie before and behind them in the log.
    pub(super) after: Option<Vec<u8>>,
    pub(super) before: Option<Vec<u8>>,
    pub(super) records: u64,
    /// Whether more than `records` may be gone.
    pub(super) at_least: bool,
    /// How many of them another file had.
    pub(super) elsewhere: u64,
}

/// Where doubtful records come from.
#[derive(Debug, Default)]
pub(super) struct Origin {
    pub(super) file: String,
    pub(super) why: &'static str,
    pub(super) records: u64,
    /// The least and the greatest key, or the first and the last in a log.
    pub(super) keys: Option<(Vec<u8>, Vec<u8>)>,
}

/// What was kept and what was not.
#[derive(Debug, Default)]
pub(super) struct Losses {
    pub(super) tables_kept: u64,
    pub(super) tables_rewritten: u64,
    pub(super) tables_lost: u64,
    pub(super) blocks_kept: u64,
    pub(super) blocks_corrected: u64,
    pub(super) blocks_lost: u64,
    pub(super) writes_kept: u64,
    pub(super) writes_damaged: u64,
    /// Records in sound parts, or proven all the same.
    pub(super) records_kept: u64,
    /// How many of these are doubtful all the same.
    pub(super) kept_in_doubt: u64,
    /// Records of tables, and the bytes they take.
    pub(super) in_tables: (u64, u64),
    /// Tables that could not be put in order of age.
    pub(super) unsure_tables: u64,
    pub(super) last_sequence: u64,
    pub(super) comparator: String,
    pub(super) keys: Vec<LostKeys>,
    pub(super) writes: Vec<LostWrites>,
    writes_are_many: bool,
    pub(super) origins: Vec<Origin>,
    pub(super) notes: Vec<String>,
}

impl Losses {
    /// A new place that doubtful records come from.
    pub(super) fn origin(&mut self, file: impl Into<String>, why: &'static str) -> usize {
        if self.origins.len() >= MAX_RANGES {
            return self.origins.len() - 1;
        }
        self.origins.push(Origin { file: file.into(), why, ..Origin::default() });
        self.origins.len() - 1
    }

    /// Operations of a log are gone.
    pub(super) fn lose_writes(&mut self, lost: LostWrites) {
        match self.writes.last_mut() {
            Some(last) if self.writes_are_many => {
                last.records += lost.records;
                last.at_least |= lost.at_least;
                last.before = lost.before;
            }
            _ => self.writes.push(lost),
        }
        self.writes_are_many = self.writes.len() >= MAX_RANGES;
    }

    /// A doubtful record from there is in the new store.
    pub(super) fn doubt(&mut self, origin: usize, user: &[u8], order: Order) {
        fn key(user: &[u8]) -> InternalKey<'_> {
            InternalKey { user, tag: 0 }
        }
        let Some(origin) = self.origins.get_mut(origin) else { return };
        origin.records += 1;
        match &mut origin.keys {
            None => origin.keys = Some((user.to_vec(), user.to_vec())),
            Some((least, greatest)) => {
                let order = if order == Order::IndexedDb { order } else { Order::Bytewise };
                let side = |other: &[u8]| order.compare(key(user), key(other));
                if side(least) == Some(std::cmp::Ordering::Less) {
                    *least = user.to_vec();
                }
                if side(greatest) == Some(std::cmp::Ordering::Greater) {
                    *greatest = user.to_vec();
                }
            }
        }
    }

    fn listed(&self, density: f64) -> Vec<Value> {
        let show = |key: &Option<Vec<u8>>| key.as_deref().map(show_internal);
        let of_tables = self.keys.iter().map(|lost| {
            json!({
                "table": lost.table,
                "offset": lost.place.map(|p| p.0),
                "bytes": lost.place.map(|p| p.1),
                "keys_after": show(&lost.after),
                "keys_up_to": show(&lost.up_to),
                "records": lost.records(density),
                "about": true,
            })
        });
        let show = |key: &Option<Vec<u8>>| key.as_deref().map(show_key);
        let of_logs = self.writes.iter().map(|lost| {
            json!({
                "log": lost.log,
                "offset": lost.at,
                "bytes": lost.bytes,
                "sequences": lost.sequences,
                "keys_after": show(&lost.after),
                "keys_before": show(&lost.before),
                "records": lost.records.saturating_sub(lost.elsewhere),
                "at_least": lost.at_least,
            })
        });
        let gone = |lost: &Value| lost["records"] != 0;
        of_tables.chain(of_logs).filter(gone).take(MAX_LISTED).collect()
    }

    /// The outcome; `trusted` says whether a MANIFEST named the tables.
    pub(super) fn finish(mut self, trusted: bool) -> Rebuilt {
        self.records_kept = self.records_kept.saturating_sub(self.kept_in_doubt);
        let density = self.in_tables.0 as f64 / self.in_tables.1.max(1) as f64;
        let listed = self.listed(density);
        let lost = self.keys.iter().map(|l| l.records(density)).sum::<u64>()
            + self.writes.iter().map(|l| l.records.saturating_sub(l.elsewhere)).sum::<u64>();
        self.origins.retain(|o| o.records > 0);
        let doubtful: u64 = self.origins.iter().map(|o| o.records).sum();
        self.say(trusted, lost, doubtful, &listed);
        let doubts = self.origins.iter().take(MAX_LISTED).map(|origin| {
            let keys = origin.keys.as_ref();
            json!({
                "file": origin.file,
                "why": origin.why,
                "records": origin.records,
                "keys_from": keys.map(|k| show_key(&k.0)),
                "keys_to": keys.map(|k| show_key(&k.1)),
            })
        });
        Rebuilt {
            incomplete: false,
            method: "leveldb rebuild".to_owned(),
            recovered: self.records_kept,
            doubtful: doubtful + self.unsure_tables,
            lost,
            details: json!({
                "unit": "records",
                "records_kept": self.records_kept,
                "tables_kept": self.tables_kept,
                "tables_rewritten": self.tables_rewritten,
                "tables_lost": self.tables_lost,
                "blocks_kept": self.blocks_kept,
                "blocks_corrected": self.blocks_corrected,
                "blocks_lost": self.blocks_lost,
                "writes_kept": self.writes_kept,
                "writes_damaged": self.writes_damaged,
                "manifest_trusted": trusted,
                "comparator": self.comparator,
                "doubtful": doubts.collect::<Vec<Value>>(),
                "lost": listed,
            }),
            notes: self.notes,
        }
    }

    fn say(&mut self, trusted: bool, lost: u64, doubtful: u64, listed: &[Value]) {
        if !trusted {
            self.notes.push(
                "the MANIFEST was lost or damaged: all tables were taken, and a value that had been deleted may show again"
                    .to_owned(),
            );
        }
        if self.unsure_tables > 0 {
            self.notes.push(format!(
                "{} tables could not be put in order of age for certain; an older value may show in place of a newer one",
                self.unsure_tables
            ));
        }
        if doubtful > 0 {
            let ranges = self.origins.iter().map(|o| {
                let (from, to) =
                    o.keys.as_ref().map(|k| (show_key(&k.0), show_key(&k.1))).unwrap_or_default();
                let keys = if from == to { from } else { format!("{from} to {to}") };
                format!("{} in {} ({}): {keys}", o.records, o.file, o.why)
            });
            self.notes.push(format!("doubtful: {}", named(ranges.collect())));
        }
        if lost > 0 {
            let ranges = listed.iter().map(|l| {
                let key = |name: &str| l[name].as_str().unwrap_or("?").to_owned();
                let records = &l["records"];
                match (l["table"].as_u64(), l["log"].as_u64()) {
                    (Some(n), _) => format!(
                        "about {records} in table {n}, keys after {} up to {}",
                        key("keys_after"),
                        key("keys_up_to")
                    ),
                    (_, n) => format!(
                        "{}{records} in log {}, written after {} and before {}",
                        if l["at_least"] == true { "at least " } else { "" },
                        n.unwrap_or_default(),
                        key("keys_after"),
                        key("keys_before")
                    ),
                }
            });
            self.notes.push(format!(
                "lost: {}; where newer values are gone, older ones may show",
                named(ranges.collect())
            ));
        }
    }
}

/// The first of them, and how many more there are.
fn named(mut all: Vec<String>) -> String {
    let more = all.len().saturating_sub(MAX_NAMED);
    all.truncate(MAX_NAMED);
    let more = if more > 0 { format!("; and {more} more ranges") } else { String::new() };
    all.join("; ") + &more
}

/// The user's part of an internal key, readable.
fn show_internal(key: &[u8]) -> String {
    show_key(InternalKey::parse(key).map_or(key, |k| k.user))
}
