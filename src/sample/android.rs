//! The data of the TikTok app and of Seller Center as an image of an Android
//! device holds it: `data/data/<package>` and
//! `data/media/0/Android/data/<package>`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::prefs::{self, Value};
use super::sqlite::{self, Left};
use super::{Tree, disk_lru, exo, fresco, hex, keva, leveldb, media, media_loader, mmkv, noise, pick};

/// Package id of the TikTok app.
pub const TIKTOK: &str = "com.zhiliaoapp.musically";
/// Package id of Seller Center.
pub const SELLER: &str = "com.tiktokshop.seller";
/// The account that is signed in.
pub const USER: &str = "6812345678901234567";
const SHOP: &str = "https://seller-id.tokopedia.com";

/// Where an app's data lies in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// `data/data/<package>`.
    pub data: PathBuf,
    /// `data/media/0/Android/data/<package>`.
    pub external: PathBuf,
}

impl Roots {
    /// The roots of `package` in the image at `image`.
    #[must_use]
    pub fn new(image: &Path, package: &str) -> Self {
        Self {
            data: image.join("data/data").join(package),
            external: image.join("data/media/0/Android/data").join(package),
        }
    }
}

/// Builds an image with both apps, every store healthy.
///
/// # Errors
/// The system's error; also when something is there already.
pub fn image(root: &Path, now: SystemTime) -> io::Result<()> {
    tiktok(root, now)?;
    seller(root, now)
}

/// Builds the TikTok app's data below `root`.
///
/// # Errors
/// The system's error; also when something is there already.
pub fn tiktok(root: &Path, now: SystemTime) -> io::Result<()> {
    let roots = Roots::new(root, TIKTOK);
    let data = Tree::new(&roots.data, now);
    let external = Tree::new(&roots.external, now);
    let db = data.below("databases");
    let ms = data.millis(0);
    let newest = Left::WithWal(
        "UPDATE msg SET read_status = 0 WHERE rowid > 590;
         INSERT INTO msg (msg_uuid, conversation_id, type, status, content)
             VALUES ('fe5c0f0e7b5d4c33a1f2', '0:1:1:2', 7, 1, '{\"text\":\"masih ada kak\"}');",
    );
    sqlite::database(&db, &format!("{USER}_im.db"), newest, 0, |c| sqlite::messages(c, USER, ms, 600))?;
    sqlite::database(&db, "db_im_xx", Left::Closed, 1, sqlite::contacts)?;
    sqlite::database(&db, "aweme.db", Left::Closed, 2, |c| sqlite::drafts(c, USER, ms))?;
    for (name, table, columns, rows) in [
        ("TIKTOK.db", "app_open", "open_day", 60),
        ("video.db", "video_http_header_t", "key", 220),
        ("downloader.db", "downloader", "url", 140),
        ("ss_app_log.db", "event", "category", 300),
        ("androidx.work.workdb", "WorkSpec", "worker_class_name", 18),
    ] {
        sqlite::database(&db, name, Left::Closed, 1, |c| sqlite::plain(c, table, columns, rows))?;
    }
    tiktok_prefs(&data.below("shared_prefs"))?;
    shared_parts(&data, TIKTOK)?;

    for repo in ["com.bytedance.sdk.account_setting", "aweme-app", "gecko_channel_meta", "mssdk"] {
        keva::repository(&data.below("files/keva/repo"), repo, 1)?;
    }
    for n in 0..12 {
        let clip = media::mp4(&format!("draft {n}"), 30_000);
        data.file(&format!("files/draft/{n:04}/video.mp4"), clip, n)?;
    }

    let cache = external.below("cache");
    let pictures: Vec<_> = (0..90).map(picture).collect();
    fresco::cache(&cache.below("picture/fresco_cache"), &pictures)?;
    for n in 0..14 {
        media_loader::pair(&cache.below("cachev2"), &format!("video {n}"), n * 5)?;
    }
    for n in 0..8 {
        let name = format!("cache/{}", hex(&noise(&format!("feed video {n}"), 16)));
        cache.file(&name, media::mp4(&name, 24_000), n * 3)?;
    }
    exo::cache(
        &cache.below("exo"),
        &[("https://v16m.tiktokcdn.com/a", 2), ("https://v16m.tiktokcdn.com/b", 40)],
    )?;
    external.file("files/share/out/2026-11-18.mp4", media::mp4("finished", 60_000), 4)
}

/// Builds Seller Center's data below `root`.
///
/// # Errors
/// The system's error; also when something is there already.
pub fn seller(root: &Path, now: SystemTime) -> io::Result<()> {
    let roots = Roots::new(root, SELLER);
    let data = Tree::new(&roots.data, now);
    let db = data.below("databases");
    let ms = data.millis(0);
    sqlite::database(&db, &format!("{USER}_im.db"), Left::Closed, 0, |c| sqlite::messages(c, USER, ms, 300))?;
    for (name, table, columns, rows) in [
        ("account_db", "login_info", "platform", 3),
        ("verifystorage.db", "verify", "scene", 4),
        ("bd_sync_sdk_v4.db", "sync_cursor", "business", 25),
        ("ss_app_log.db", "event", "category", 120),
    ] {
        sqlite::database(&db, name, Left::Closed, 1, |c| sqlite::plain(c, table, columns, rows))?;
    }
    let shared = data.below("shared_prefs");
    shared.file(
        "token_shared_preference.xml",
        prefs::xml(&[("X-Tt-Token", Value::Text(&hex(&noise("token", 32)))), ("time", Value::Long(ms))]),
        1,
    )?;
    shared.file(
        "seller_settings.xml",
        prefs::xml(&[
            ("language", Value::Text("id-ID")),
            ("order_sound", Value::Bool(true)),
            ("recent_search", Value::Set(&["kaos & kemeja", "sepatu <42>"])),
        ]),
        3,
    )?;
    shared_parts(&data, SELLER)?;
    for repo in ["account_region", "seller_home"] {
        keva::repository(&data.below("files/keva/repo"), repo, 1)?;
    }
    let pictures: Vec<_> = (200..240).map(picture).collect();
    fresco::cache(&data.below("cache/picture/fresco_cache"), &pictures)
}

/// What every app of the family has.
fn shared_parts(data: &Tree, package: &str) -> io::Result<()> {
    data.file("files/keva/global/keva.gxi", vec![0; 4096], 1)?;
    let token = mmkv::text(&hex(&noise(package, 20)));
    let store = mmkv::files(
        &[("device_id", &mmkv::text("7400000000000000001")), ("session", &token), ("launches", &[0x2a])],
        &[("last_tab", &mmkv::text("orders")), ("launches", &[0x2b])],
    );
    data.file("files/mmkv/mmkv.default", store.data, 0)?;
    data.file("files/mmkv/mmkv.default.crc", store.crc, 0)?;
    let live = mmkv::files(&[("volume", &[0x50]), ("beauty", &[1]), ("room", &mmkv::text("7400123"))], &[]);
    data.file("files/mmkv/live_settings", live.data, 6)?;
    data.file("files/mmkv/live_settings.crc", live.crc, 6)?;
    data.file(
        "files/server.json",
        format!("{{\"version\":3,\"hosts\":[\"api16-normal.tiktokv.com\",\"{SHOP}\"],\"ttl\":86400}}"),
        2,
    )?;
    data.file(
        "cache/ttnet_storage/prefs/local_prefs.json",
        r#"{"net":{"http_server_properties":{"servers":[],"version":5},"network_qualities":{}}}"#,
        1,
    )?;

    let glide: Vec<_> = (0..24)
        .map(|n| {
            let seed = format!("{package} glide {n}");
            (format!("https://p16.tiktokcdn.com/{seed}"), media::webp(&seed, 2_000 + 150 * n as usize), n * 4)
        })
        .collect();
    let glide: Vec<_> = glide.iter().map(|(url, bytes, days)| (url.as_str(), bytes.clone(), *days)).collect();
    disk_lru::glide(&data.below("cache/image_manager_disk_cache"), &glide)?;
    let urls: Vec<String> = (0..16).map(|n| format!("{SHOP}/api/v1/product/{n}")).collect();
    let urls: Vec<_> = urls.iter().zip(0..).map(|(url, n)| (url.as_str(), n * 3)).collect();
    disk_lru::okhttp(&data.below("cache/okhttp3"), &urls)?;

    let profile = data.below("app_webview/Default");
    sqlite::database(&profile, "Cookies", Left::Closed, 1, |c| sqlite::plain(c, "cookies", "host_key", 30))?;
    sqlite::database(&profile, "Web Data", Left::Closed, 5, |c| sqlite::plain(c, "autofill", "name", 6))?;
    let records = [
        (b"VERSION".to_vec(), b"1".to_vec()),
        leveldb::local_storage(SHOP, "draft_product", "{\"title\":\"Kemeja flanel\",\"price\":129000}"),
        leveldb::local_storage(SHOP, "sidebar", "open"),
    ];
    leveldb::folder(&profile.below("Local Storage/leveldb"), &records, 1)?;
    data.file("app_webview/webview_data.lock", "", 1)?;
    data.file("files/logs/2026-11-20.log", "I/Shop: started\nI/Shop: orders loaded\n".repeat(200), 2)?;
    data.file("no_backup/androidx.work.id", "1", 20)?;
    data.folder("code_cache")
}

fn tiktok_prefs(shared: &Tree) -> io::Result<()> {
    let account =
        format!("{{\"uid\":\"{USER}\",\"unique_id\":\"toko.ana\",\"nickname\":\"Toko \\\"Ana\\\"\"}}");
    let name = format!("{USER}_account_user_info");
    shared.file(
        "aweme_user.xml",
        prefs::xml(&[
            (&name, Value::Text(&account)),
            ("current_foreground_uid", Value::Text(USER)),
            ("logged_in_uid_list", Value::Set(&[USER])),
        ]),
        1,
    )?;
    shared.file(
        "ttnetCookieStore.xml",
        prefs::xml(&[("https://.tiktok.com|sessionid", Value::Text(&hex(&noise("cookie", 300))))]),
        0,
    )?;
    shared.file(
        "search.xml",
        prefs::xml(&[("recent_history", Value::Text("[{\"keyword\":\"sandal\"},{\"keyword\":\"tas\"}]"))]),
        3,
    )?;
    shared.file(
        "aweme-app.xml",
        prefs::xml(&[
            ("first_launch", Value::Bool(false)),
            ("launch_count", Value::Int(212)),
            ("font_scale", Value::Float(1.15)),
            ("last_update", Value::Long(shared.millis(9))),
            ("tips", Value::Text("swipe up\nfor more")),
        ]),
        0,
    )?;
    shared.file("empty_settings.xml", prefs::xml(&[]), 60)
}

/// The `n`th picture of a Fresco cache: id, content, age in days.
fn picture(n: u64) -> (String, Vec<u8>, u64) {
    let seed = format!("picture {n}");
    let size = 1_200 + pick(&seed, 9_000) as usize;
    let bytes = match n % 4 {
        0 => media::jpeg(&seed, size),
        1 => media::png(&seed, size),
        2 => media::heic(),
        _ => media::webp(&seed, size),
    };
    (fresco::resource_id(&seed), bytes, n % 45)
}
