//! Everything that a device or the adb server sends: lists, listings, packets,
//! transfers, descriptions.

use std::path::Path;

use shopmend::place::adb;

const FIELDS: &str = "64513-rw-r--r--2026-11-22 07:18:55.123456789 +00002026-11-22 08:18:55.123456789 +010077\
                      1969-12-31 23:59:59.000000000 +00001 10123 20123 1234//data/x";

/// The same by [`adb::SIGNS`].
const SIGNS: &str = "2026-11-22 07:18:55.123456789 +00002026-11-22 08:18:55.123456789 +0100771969-12-31 23:59:59.000000000 +00001234//data/x";

fn listing(text: &[u8]) {
    // As many as there are marks: none was swallowed, none made up.
    let marks = text.windows(2).filter(|w| w == b"//").count();
    let both = adb::parse_listing_of_both(text, &[Path::new("/data/x")]);
    if let Ok(all) = &both {
        assert!(all.iter().all(|(path, root, _)| path.starts_with("/data/x") && *root == 0));
        assert_eq!(all.len(), marks);
    }
    if let Ok(all) = adb::parse_listing(text, &[Path::new("/data/x")]) {
        assert!(both.is_ok_and(|both| both.len() == all.len()));
        assert!(all.iter().all(|(path, _)| path.starts_with("/data/x")));
    }
}

/// Takes one input.
pub fn run(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    match which % 8 {
        0 => drop(adb::parse(data)),
        1 => {
            listing(data);
            // Each `\xff` becomes what stands before a path, which would take long to guess,
            // and each `\xfe` what stands there in the brief form.
            let with = |data: &[u8], sign: u8, fields: &str| {
                data.split(|&b| b == sign).collect::<Vec<_>>().join(fields.as_bytes())
            };
            listing(&with(&with(data, 0xff, FIELDS), 0xfe, SIGNS));
        }
        2 => {
            let mut seen = 0;
            let mut sink = |part: &[u8]| {
                seen += part.len();
                Ok(())
            };
            let _ = adb::Packets::new(data).run(&mut sink, &mut || Ok(()));
            assert!(seen <= data.len());
        }
        3 => drop(adb::sync_file(&mut &data[..], &mut |_| Ok(()))),
        4 => assert!(!adb::Facts::parse(data).serial.contains('/')),
        5 => {
            if let Ok(parts) = adb::cut_parts(data, b"@w@") {
                assert!(
                    parts.values().map(|p| p.stdout.len() + p.ran.stderr.len()).sum::<usize>() <= data.len()
                );
            }
        }
        6 => assert!(adb::sizes(data).keys().all(|package| !package.contains('/'))),
        _ => drop((adb::app_facts(data, "+0700"), adb::processes(data, "com.x"))),
    }
}
