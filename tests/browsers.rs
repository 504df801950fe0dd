//! The real Chromium and Firefox: what they wrote is what the program reads,
//! and what the program repaired is what they go on with.

use crate::support::browsers::{Browser, End, as_filled, filled_home, read_back, visit};

/// The other tests here compare what the browsers hold before and after; that
/// means something only if an untouched copy reads back unchanged.
#[test]
fn an_untouched_copy_reads_back_as_it_was_filled() {
    let Some(home) = filled_home("an_untouched_copy_reads_back_as_it_was_filled") else { return };
    for browser in Browser::BOTH {
        let filled = as_filled(browser);
        let shop = &filled["seller-us.tiktok.com"];
        assert_eq!(shop["indexedDB"]["records"], 1500, "{shop:#}");
        assert_eq!(shop["localStorage"]["keys"], 150, "{shop:#}");
        assert_eq!(shop["login"]["session"], true, "{shop:#}");
        assert_eq!(visit(home.path(), browser, End::Kill), filled, "{browser:?}, to be killed");
        assert_eq!(read_back(home.path(), browser), filled, "{browser:?}, after it was killed");
    }
}
