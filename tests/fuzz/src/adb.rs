//! Everything that a device or the adb server sends: lists, listings, packets,
//! transfers, descriptions.

use std::path::Path;

use shopmend::place::adb;

/// Takes one input.
pub fn run(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    match which % 8 {
        0 => drop(adb::parse(data)),
        1 => {
            if let Ok(all) = adb::parse_listing(data, &[Path::new("/data/x")]) {
                assert!(all.iter().all(|(path, _)| path.starts_with("/data/x")));
            }
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
