//! `index.txt` of Cache Storage: in spite of its name a protobuf message.
//!
//! After Chromium's `content/browser/cache_storage/cache_storage.proto`:
//! field 1, repeated, is a cache (1 name, 2 folder, 3 size, 4 padding key, 5
//! padding, 6 padding version); field 2 is the origin. There is no checksum.
//! Wire format after the Protocol Buffers encoding guide.

use std::ops::Range;

/// A cache that the index names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cache {
    pub(super) name: Vec<u8>,
    /// Its folder beside the index.
    pub(super) folder: Option<String>,
    /// Where the folder's name stands in the index.
    pub(super) folder_at: Range<u64>,
}

/// The index, as far as the check needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) caches: Vec<Cache>,
    pub(super) origin: Option<String>,
}

/// What is wrong with the bytes, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) at: u64,
    pub(super) message: &'static str,
}

/// A value of the wire format, with the range that its bytes take.
enum Value<'a> {
    Number,
    Bytes(&'a [u8], Range<u64>),
}

/// Reads the fields of one message, one after the other.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Offset of the message in the file.
    base: u64,
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8], base: u64) -> Self {
        Self { bytes, at: 0, base }
    }

    fn wrong(&self, at: usize, message: &'static str) -> Wrong {
        Wrong { at: self.base + at as u64, message }
    }

    /// Seven bits a byte, lowest first, at most 64 bits.
    fn varint(&mut self) -> Result<u64, Wrong> {
        let start = self.at;
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or_else(|| self.wrong(start, "a number is cut off"))?;
            self.at += 1;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.wrong(start, "a number is longer than 64 bits"))
    }

    fn take(&mut self, len: u64) -> Result<(&'a [u8], Range<u64>), Wrong> {
        let part = usize::try_from(len).ok().and_then(|len| self.bytes.get(self.at..)?.get(..len));
        let part = part.ok_or_else(|| self.wrong(self.at, "a field is longer than the message it is in"))?;
        let start = self.base + self.at as u64;
        self.at += part.len();
        Ok((part, start..start + len))
    }

    /// The next field's number, offset and value; `None` at the end.
    fn next(&mut self) -> Result<Option<(u64, u64, Value<'a>)>, Wrong> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let start = self.at;
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => {
                self.varint()?;
                Value::Number
            }
            1 => {
                self.take(8)?;
                Value::Number
            }
            2 => {
                let len = self.varint()?;
                let (bytes, range) = self.take(len)?;
                Value::Bytes(bytes, range)
            }
            5 => {
                self.take(4)?;
                Value::Number
            }
            _ => return Err(self.wrong(start, "a field is of a type that does not exist")),
        };
        if tag >> 3 == 0 {
            return Err(self.wrong(start, "a field has the number 0"));
        }
        Ok(Some((tag >> 3, self.base + start as u64, value)))
    }
}

/// Reads the index. Anything may be in it.
pub(super) fn read(bytes: &[u8]) -> Result<Index, Wrong> {
    let mut out = Index::default();
    let mut fields = Fields::new(bytes, 0);
    while let Some((number, at, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Bytes(bytes, range)) => out.caches.push(cache(bytes, range.start)?),
            (2, Value::Bytes(bytes, _)) => {
                let origin =
                    std::str::from_utf8(bytes).map_err(|_| Wrong { at, message: "the origin is no text" })?;
                out.origin = Some(origin.to_owned());
            }
            (1 | 2, Value::Number) => {
                return Err(Wrong { at, message: "a field is of another type than its own" });
            }
            _ => {}
        }
    }
    Ok(out)
}

fn cache(bytes: &[u8], base: u64) -> Result<Cache, Wrong> {
    let mut out = Cache::default();
    let mut named = false;
    let mut fields = Fields::new(bytes, base);
    while let Some((number, at, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Bytes(bytes, _)) => {
                out.name = bytes.to_vec();
                named = true;
            }
            (2, Value::Bytes(bytes, range)) => {
                let folder = std::str::from_utf8(bytes).ok().filter(|f| is_plain(f));
                let wrong = Wrong { at, message: "a cache's folder has an impossible name" };
                out.folder = Some(folder.ok_or(wrong)?.to_owned());
                out.folder_at = range;
            }
            (3 | 5 | 6, Value::Bytes(..)) | (1 | 2 | 4, Value::Number) => {
                return Err(Wrong { at, message: "a field is of another type than its own" });
            }
            _ => {}
        }
    }
    if named { Ok(out) } else { Err(Wrong { at: base, message: "a cache has no name" }) }
}

/// Whether a name is that of a folder beside the index and nothing else.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8][..], bytes].concat()
    }

    /// An index of caches (name, folder) as Chromium writes it.
    pub(in crate::store::cache_storage) fn index(caches: &[(&str, &str)], origin: &str) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, folder) in caches {
            let mut cache = [field(1, name.as_bytes()), field(2, folder.as_bytes())].concat();
            cache.extend([0x18, 0x80, 0xa2, 0x30, 0x28, 0, 0x30, 3]);
            out.extend(field(1, &cache));
        }
        out.extend(field(2, origin.as_bytes()));
        // A field that this program does not know.
        out.extend([0x20, 1]);
        out
    }

    #[test]
    fn what_chromium_writes_is_read() {
        let bytes = index(&[("assets", "6122-ce"), ("api", "2bcb")], "https://a.example/");
        let read = read(&bytes).unwrap();
        assert_eq!(read.origin.as_deref(), Some("https://a.example/"));
        assert_eq!(read.caches.len(), 2);
        assert_eq!(read.caches[0].name, b"assets");
        let at = &read.caches[1].folder_at;
        assert_eq!(&bytes[at.start as usize..at.end as usize], b"2bcb");
    }

    #[test]
    fn a_folder_elsewhere_is_refused() {
        for folder in ["../other", "", ".", "a/b", "a\\b"] {
            assert!(read(&index(&[("a", folder)], "o")).is_err(), "{folder:?}");
        }
    }

    #[test]
    fn a_cut_index_is_refused_unless_it_ends_between_fields() {
        let bytes = index(&[("assets", "6122-ce"), ("api", "2bcb")], "https://a.example/");
        let whole = (1..bytes.len()).filter(|n| read(&bytes[..*n]).is_ok()).count();
        assert_eq!(whole, 3, "two caches and the origin end at three places");
    }

    proptest! {
        #[test]
        fn anything_may_be_in_an_index(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let _ = read(&field(1, &bytes));
        }
    }
}
