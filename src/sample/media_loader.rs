//! Pairs of the ByteDance media loader: `<key>….mdl` with the video's bytes and
//! `<key>….mdlnodeconf` with its head.

use std::io;

use super::{Tree, hex, media, noise, pick};

/// Makes the pair of one cached video.
///
/// # Errors
/// The system's error.
pub fn pair(tree: &Tree, video: &str, days: u64) -> io::Result<String> {
    let key = hex(&noise(video, 16));
    let stem = format!("{key}_h264_720p_{}", pick(video, 2_000_000));
    let mut conf = b"ttmd".to_vec();
    conf.extend_from_slice(&noise(&format!("conf {video}"), 60));
    conf.extend_from_slice(&media::mp4_head());
    tree.file(&format!("{stem}.mdl"), noise(video, 9000 + pick(video, 30_000) as usize), days)?;
    tree.file(&format!("{stem}.mdlnodeconf"), conf, days)?;
    Ok(stem)
}
