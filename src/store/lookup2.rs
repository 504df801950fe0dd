//! Bob Jenkins' hash "lookup2" of 1996, by which Firefox guards its cache.

/// The hash of bytes that arrive in pieces.
#[derive(Debug, Clone)]
pub(super) struct Lookup2 {
    state: [u32; 3],
    /// Bytes that did not yet fill a group of twelve.
    held: [u8; 12],
    held_len: usize,
    len: u32,
}

impl Default for Lookup2 {
    fn default() -> Self {
        Self { state: [0x9e37_79b9, 0x9e37_79b9, 0], held: [0; 12], held_len: 0, len: 0 }
    }
}

impl Lookup2 {
    /// Takes the next bytes.
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        self.len = self.len.wrapping_add(bytes.len() as u32);
        if self.held_len > 0 {
            let (fill, rest) = bytes.split_at(bytes.len().min(12 - self.held_len));
            for (slot, byte) in self.held.iter_mut().skip(self.held_len).zip(fill) {
                *slot = *byte;
            }
            self.held_len += fill.len();
            bytes = rest;
            if self.held_len < 12 {
                return;
            }
            let held = self.held;
            self.group(&held);
            self.held_len = 0;
        }
        let (groups, rest) = bytes.as_chunks::<12>();
        for group in groups {
            self.group(group);
        }
        for (slot, byte) in self.held.iter_mut().zip(rest) {
            *slot = *byte;
        }
        self.held_len = rest.len();
    }

    fn group(&mut self, group: &[u8; 12]) {
        for (word, more) in self.state.iter_mut().zip(words(group)) {
            *word = word.wrapping_add(more);
        }
        self.state = mix(self.state);
    }

    /// The hash of all bytes so far.
    pub(super) fn finish(mut self) -> u32 {
        for slot in self.held.iter_mut().skip(self.held_len) {
            *slot = 0;
        }
        let [first, second, third] = words(&self.held);
        // The lowest byte of the last word belongs to the length.
        let rest = [first, second, self.len.wrapping_add(third << 8)];
        for (word, more) in self.state.iter_mut().zip(rest) {
            *word = word.wrapping_add(more);
        }
        let [.., hash] = mix(self.state);
        hash
    }
}

/// The hash of `bytes`.
pub fn lookup2(bytes: &[u8]) -> u32 {
    let mut hash = Lookup2::default();
    hash.update(bytes);
    hash.finish()
}

fn words(group: &[u8; 12]) -> [u32; 3] {
    let mut out = [0; 3];
    for (word, bytes) in out.iter_mut().zip(group.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    out
}

fn mix([mut a, mut b, mut c]: [u32; 3]) -> [u32; 3] {
    a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> 13);
    b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << 8);
    c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> 13);
    a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> 12);
    b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << 16);
    c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> 5);
    a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> 3);
    b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << 10);
    c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> 15);
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The metadata of a real entry with the hash that Firefox stored for it.
    #[test]
    fn agrees_with_an_entry_that_firefox_wrote() {
        let metadata = KNOWN.0;
        assert_eq!(lookup2(metadata), KNOWN.1);
    }

    const KNOWN: (&[u8], u32) = (
        b"\xac\xd4\x00\x00\x00\x04\x00\x00\x00\x01k\x02n\xc8k\x02n\xc8J,_\xb3\x00\x00\x00\x00\x00\x00\x00\
        I\x00\x00\x00\x00O^partitionKey=%28http%2C127.0.0.1%29,:http://127.0.0.1:18431/favicon.ico\x00s\
        trongly-framed\x001\x00request-method\x00GET\x00response-head\x00HTTP/1.0 404 File not found\
        \x0d\x0aServer: SimpleHTTP/0.6 Python/3.11.7\x0d\x0aDate: Sun, 22 Nov 2026 04:25:44 GMT\x0d\x0a\
        Content-Type: text/html;charset=utf-8\x0d\x0aContent-Length: 335\x0d\x0aCache-Control: max-age=\
        3600\x0d\x0a\x00original-response-headers\x00Server: SimpleHTTP/0.6 Python/3.11.7\x0d\x0aDate: \
        Sun, 22 Nov 2026 04:25:44 GMT\x0d\x0aConnection: close\x0d\x0aContent-Type: text/html;charset=u\
        tf-8\x0d\x0aContent-Length: 335\x0d\x0aCache-Control: max-age=3600\x0d\x0a\x00ctid\x001\x00net-\
        response-time-onstart\x0030\x00net-response-time-onstop\x0030\x00",
        0xec85_94b5,
    );

    proptest! {
        #[test]
        fn pieces_make_no_difference(bytes in prop::collection::vec(any::<u8>(), 0..100), cuts in prop::collection::vec(0usize..30, 0..8)) {
            let mut hash = Lookup2::default();
            let mut rest = &bytes[..];
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                hash.update(head);
                rest = tail;
            }
            hash.update(rest);
            prop_assert_eq!(hash.finish(), lookup2(&bytes));
        }
    }
}
