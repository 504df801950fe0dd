//! Tiny pictures and a clip, encoded by libjpeg, libpng, libwebp, libheif and
//! x264, made larger with chunks that every reader skips.

use super::noise;

const JPEG: &[u8] = include_bytes!("media/photo.jpeg");
const PNG: &[u8] = include_bytes!("media/icon.png");
const GIF: &[u8] = include_bytes!("media/dot.gif");
const WEBP: &[u8] = include_bytes!("media/cover.webp");
const HEIC: &[u8] = include_bytes!("media/shot.heic");
const MP4: &[u8] = include_bytes!("media/clip.mp4");

/// A photo of about `size` bytes, at least 400.
#[must_use]
pub fn jpeg(seed: &str, size: usize) -> Vec<u8> {
    let (start, rest) = JPEG.split_at(2);
    let mut out = start.to_vec();
    let filler = noise(seed, size.saturating_sub(JPEG.len()));
    for part in filler.chunks(60_000) {
        // A comment segment: marker, length with itself, anything.
        out.extend_from_slice(&[0xff, 0xfe]);
        out.extend_from_slice(&u16::try_from(part.len() + 2).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(part);
    }
    out.extend_from_slice(rest);
    out
}

/// An icon of about `size` bytes, at least 160.
#[must_use]
pub fn png(seed: &str, size: usize) -> Vec<u8> {
    // Signature and header first, then a private ancillary chunk.
    let (start, rest) = PNG.split_at(33);
    let filler = noise(seed, size.saturating_sub(PNG.len() + 12));
    let mut chunk = b"shPm".to_vec();
    chunk.extend_from_slice(&filler);
    let mut out = start.to_vec();
    out.extend_from_slice(&u32::try_from(filler.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&chunk);
    out.extend_from_slice(&crc32fast::hash(&chunk).to_be_bytes());
    out.extend_from_slice(rest);
    out
}

/// A cover of about `size` bytes, at least 160.
#[must_use]
pub fn webp(seed: &str, size: usize) -> Vec<u8> {
    if size <= WEBP.len() {
        return WEBP.to_vec();
    }
    let filler = noise(seed, size.saturating_sub(WEBP.len() + 8) & !1);
    let mut out = WEBP.to_vec();
    out.extend_from_slice(b"shPm");
    out.extend_from_slice(&u32::try_from(filler.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&filler);
    let riff = u32::try_from(out.len() - 8).unwrap_or(u32::MAX).to_le_bytes();
    out.splice(4..8, riff);
    out
}

/// A two-colour GIF.
#[must_use]
pub fn gif() -> Vec<u8> {
    GIF.to_vec()
}

/// A HEIC still.
#[must_use]
pub fn heic() -> Vec<u8> {
    HEIC.to_vec()
}

/// A clip of about `size` bytes, at least 1 000.
#[must_use]
pub fn mp4(seed: &str, size: usize) -> Vec<u8> {
    if size <= MP4.len() {
        return MP4.to_vec();
    }
    let filler = noise(seed, size.saturating_sub(MP4.len() + 8));
    let mut out = MP4.to_vec();
    out.extend_from_slice(&u32::try_from(filler.len() + 8).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(b"free");
    out.extend_from_slice(&filler);
    out
}

/// The boxes before a clip's media data: `ftyp` and what follows it.
#[must_use]
pub fn mp4_head() -> Vec<u8> {
    MP4.iter().copied().take(40).collect()
}
