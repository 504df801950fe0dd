//! Names on a device are bytes, with `/` between them; a path here is of this
//! machine's kind.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};

/// The bytes that a path or a name has on the device.
#[cfg(unix)]
pub(crate) fn bytes<P: AsRef<OsStr> + ?Sized>(path: &P) -> Cow<'_, [u8]> {
    Cow::Borrowed(std::os::unix::ffi::OsStrExt::as_bytes(path.as_ref()))
}

/// The bytes that a path or a name has on the device. Paths that are joined
/// here have `\` between their names, which no name that comes from a device
/// has in it; see [`name`].
#[cfg(not(unix))]
pub(crate) fn bytes<P: AsRef<OsStr> + ?Sized>(path: &P) -> Cow<'_, [u8]> {
    let bytes = path.as_ref().as_encoded_bytes();
    if bytes.contains(&b'\\') {
        Cow::Owned(bytes.iter().map(|&b| if b == b'\\' { b'/' } else { b }).collect())
    } else {
        Cow::Borrowed(bytes)
    }
}

/// A path or a name from its bytes on the device.
#[cfg(unix)]
pub(crate) fn name(bytes: &[u8]) -> OsString {
    let name: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(bytes);
    name.to_owned()
}

/// A path or a name from its bytes on the device. What no path of this machine
/// can have becomes a sign that stands for nothing, so that it is never taken
/// for something else: it will not be found.
#[cfg(not(unix))]
pub(crate) fn name(bytes: &[u8]) -> OsString {
    String::from_utf8_lossy(bytes).replace('\\', "\u{fffd}").into()
}
