//! The one way in which text becomes part of a command on a device.

/// One word for the device's shell, whatever is in it: in single quotes, each
/// quote of its own outside of them.
#[must_use]
pub fn quoted(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len() + 2);
    out.push(b'\'');
    for &b in word {
        if b == b'\'' {
            out.extend(br"'\''");
        } else {
            out.push(b);
        }
    }
    out.push(b'\'');
    out
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStrExt as _;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

        #[test]
        fn a_shell_reads_back_every_word(word in prop::collection::vec(1u8..=255, 0..40)) {
            let mut command = b"printf %s ".to_vec();
            command.extend(quoted(&word));
            // Twice, as through `su -c`.
            let twice = [b"sh -c ".to_vec(), quoted(&command)].concat();
            for command in [command, twice] {
                let out = std::process::Command::new("sh")
                    .arg("-c")
                    .arg(std::ffi::OsStr::from_bytes(&command))
                    .output()
                    .unwrap();
                prop_assert_eq!(&out.stdout, &word);
            }
        }
    }
}
