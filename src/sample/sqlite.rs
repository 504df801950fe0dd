//! SQLite databases with the tables and shapes of the apps' own, written by
//! SQLite itself.

use std::fs;
use std::io;

use rusqlite::{Connection, params};

use super::{Tree, hex, noise, pick};

/// How the app left its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left<'a> {
    /// Closed properly: one file.
    Closed,
    /// Still open when the copy was taken: what this SQL did last is in the
    /// `-wal` alone.
    WithWal(&'a str),
}

/// Makes a database at `path`; `fill` writes it.
///
/// # Errors
/// The system's error, SQLite's included.
pub fn database(
    tree: &Tree,
    path: &str,
    left: Left<'_>,
    days: u64,
    fill: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> io::Result<()> {
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("db");
    let wal = scratch.path().join("db-wal");
    let db = Connection::open(&file).map_err(io::Error::other)?;
    let (mode, newest) = match left {
        Left::Closed => ("DELETE", ""),
        Left::WithWal(newest) => ("WAL", newest),
    };
    let run = || -> rusqlite::Result<()> {
        db.execute_batch(&format!(
            "PRAGMA page_size=4096; PRAGMA auto_vacuum=1; PRAGMA journal_mode={mode}; PRAGMA wal_autocheckpoint=0;
             PRAGMA synchronous=OFF; BEGIN;
             CREATE TABLE android_metadata (locale TEXT); INSERT INTO android_metadata VALUES ('en_US');"
        ))?;
        fill(&db)?;
        db.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE);")?;
        db.execute_batch(newest)
    };
    run().map_err(io::Error::other)?;
    if matches!(left, Left::WithWal(_)) {
        // Taken while the connection is open: closing would fold the log in.
        tree.file(path, fs::read(&file)?, days)?;
        tree.file(&format!("{path}-wal"), fs::read(&wal)?, days)
    } else {
        db.close().map_err(|(_, e)| io::Error::other(e))?;
        tree.file(path, fs::read(&file)?, days)
    }
}

/// Direct messages: `<uid>_im.db`.
///
/// # Errors
/// SQLite's error.
pub fn messages(db: &Connection, user: &str, now_ms: i64, count: u64) -> rusqlite::Result<()> {
    db.execute_batch(
        "PRAGMA user_version=33;
         CREATE TABLE msg (msg_uuid TEXT PRIMARY KEY, msg_server_id INTEGER, conversation_id TEXT,
             type INTEGER, index_in_conversation INTEGER, order_index INTEGER, status INTEGER, sender INTEGER,
             content TEXT, created_time INTEGER, deleted INTEGER DEFAULT 0, read_status INTEGER DEFAULT 0);
         CREATE INDEX msg_conversation ON msg (conversation_id, order_index);
         CREATE INDEX msg_server ON msg (msg_server_id);
         CREATE TABLE conversation_core (conversation_id TEXT PRIMARY KEY, version INTEGER, name TEXT, owner INTEGER);
         CREATE TABLE participant (user_id INTEGER, conversation_id TEXT, role INTEGER, alias TEXT,
             PRIMARY KEY (user_id, conversation_id)) WITHOUT ROWID;",
    )?;
    let mut core = db.prepare("INSERT INTO conversation_core VALUES (?1, 1, ?2, ?3)")?;
    let mut participant = db.prepare("INSERT INTO participant VALUES (?1, ?2, 0, NULL)")?;
    let mut msg = db.prepare("INSERT INTO msg VALUES (?1, ?2, ?3, 7, ?4, ?4, ?5, ?6, ?7, ?8, 0, 1)")?;
    let conversations = (count / 25).max(1);
    let buyer =
        |n: u64| 6_800_000_000_000_000_000 + i64::try_from(pick(&format!("buyer {n}"), 1 << 40)).unwrap_or(0);
    let me: i64 = user.parse().unwrap_or(1);
    for n in 0..conversations {
        let id = format!("0:1:{}:{me}", buyer(n));
        core.execute(params![id, format!("Buyer {n}"), me])?;
        participant.execute(params![me, id])?;
        participant.execute(params![buyer(n), id])?;
    }
    for n in 0..count {
        let with = n % conversations;
        let id = format!("0:1:{}:{me}", buyer(with));
        let text = sentence(n);
        let content = format!("{{\"aweType\":700,\"is_card\":false,\"text\":\"{text}\"}}");
        let sender = if n % 3 == 0 { me } else { buyer(with) };
        // The last ones wait to be sent.
        let (server, status) =
            if n + 3 > count { (None, 1) } else { (Some(7_400_000_000_000 + n as i64), 2) };
        let at = now_ms - i64::try_from(count - n).unwrap_or(0) * 97_000;
        let uuid = hex(&noise(&format!("msg {n}"), 16));
        msg.execute(params![uuid, server, id, n as i64, status, sender, content, at])?;
    }
    Ok(())
}

/// Drafts: `aweme.db`.
///
/// # Errors
/// SQLite's error.
pub fn drafts(db: &Connection, user: &str, now_ms: i64) -> rusqlite::Result<()> {
    db.execute_batch(
        "PRAGMA user_version=20;
         CREATE TABLE local_draft (_id INTEGER PRIMARY KEY AUTOINCREMENT, aweme_id TEXT, video_path TEXT,
             user_id TEXT, description TEXT, music TEXT, effect TEXT, create_time INTEGER, time INTEGER);
         CREATE TABLE face (path TEXT PRIMARY KEY, result BLOB);",
    )?;
    let mut draft = db.prepare(
        "INSERT INTO local_draft (aweme_id, video_path, user_id, description, time) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for n in 0..12_i64 {
        let path = format!("/data/user/0/com.zhiliaoapp.musically/files/draft/{n:04}/video.mp4");
        draft.execute(params![
            format!("draft{n}"),
            path,
            user,
            sentence(n as u64 * 7),
            now_ms - n * 3_600_000
        ])?;
    }
    let mut face = db.prepare("INSERT INTO face VALUES (?1, ?2)")?;
    for n in 0..40 {
        face.execute(params![format!("/sdcard/DCIM/{n}.jpg"), noise(&format!("face {n}"), 180)])?;
    }
    Ok(())
}

/// Contacts: `db_im_xx`.
///
/// # Errors
/// SQLite's error.
pub fn contacts(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(
        "PRAGMA user_version=12;
         CREATE TABLE SIMPLE_USER (UID TEXT PRIMARY KEY, SHORT_ID TEXT, NICK_NAME TEXT, SIGNATURE TEXT,
             AVATAR_THUMB TEXT, FOLLOW_STATUS INTEGER, UNIQUE_ID TEXT);
         CREATE INDEX user_name ON SIMPLE_USER (NICK_NAME COLLATE NOCASE);",
    )?;
    let mut user = db.prepare("INSERT INTO SIMPLE_USER VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    for n in 0..150_u64 {
        let uid = format!("68{:017}", pick(&format!("user {n}"), 10_u64.pow(16)));
        let avatar = format!("{{\"uri\":\"tos-alisg-avt-0068/{}\"}}", hex(&noise(&uid, 16)));
        let name = format!("Toko {}", sentence(n).split(' ').next().unwrap_or(""));
        user.execute(params![
            uid,
            n.to_string(),
            name,
            sentence(n + 3),
            avatar,
            (n % 3) as i64,
            format!("toko{n}")
        ])?;
    }
    Ok(())
}

/// A table of `rows` numbered texts, for databases whose content matters less.
///
/// # Errors
/// SQLite's error.
pub fn plain(db: &Connection, table: &str, columns: &str, rows: u64) -> rusqlite::Result<()> {
    db.execute_batch(&format!(
        "CREATE TABLE {table} (_id INTEGER PRIMARY KEY AUTOINCREMENT, {columns} TEXT, value BLOB, time INTEGER);
         CREATE INDEX {table}_time ON {table} (time);"
    ))?;
    let mut insert = db.prepare(&format!("INSERT INTO {table} VALUES (NULL, ?1, ?2, ?3)"))?;
    for n in 0..rows {
        let value = noise(&format!("{table} {n}"), 40 + pick(&format!("{table} {n}"), 120) as usize);
        insert.execute(params![
            format!("{columns}-{n}"),
            value,
            1_763_000_000_000_i64 + n as i64 * 61_000
        ])?;
    }
    Ok(())
}

/// A sentence that is the same for the same number.
fn sentence(n: u64) -> String {
    const WORDS: [&str; 24] = [
        "apakah", "pesanan", "sudah", "dikirim", "ready", "stock", "warna", "merah", "ukuran", "besar",
        "terima", "kasih", "kak", "order", "parcel", "arrived", "refund", "please", "thanks", "kapan",
        "sampai", "ongkir", "gratis", "ya",
    ];
    let words = 3 + pick(&format!("words {n}"), 9);
    (0..words).map(|i| WORDS[pick(&format!("word {n} {i}"), 24) as usize]).collect::<Vec<_>>().join(" ")
}
