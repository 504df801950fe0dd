//! What each fuzz target does with an input: `run` of the module with its name.
//!
//! `fuzz_targets/` hands these to libFuzzer (`scripts/fuzz`); tests/fuzz.rs, a
//! module of the end-to-end tests, lets each take some inputs in every full run.
#![allow(dead_code, unreachable_pub)]

pub mod adb;
pub mod app_list;
pub mod base;
pub mod blockfile;
pub mod cache_storage;
pub mod disk_lru;
pub mod exo;
pub mod firefox_cache;
pub mod framed;
pub mod fresco;
pub mod identify;
pub mod in_folder;
pub mod journal;
pub mod json;
pub mod keva;
pub mod leveldb;
pub mod manifest;
pub mod media;
pub mod media_loader;
pub mod mmkv;
pub mod plist;
pub mod profile;
pub mod salvage;
pub mod scratch;
pub mod shared_prefs;
pub mod simple_cache;
pub mod sql_cache;
pub mod sqlite_check;
pub mod sqlite_logs;
pub mod sqlite_page;
pub mod sqlite_schema;
pub mod state_db;
pub mod triage;
