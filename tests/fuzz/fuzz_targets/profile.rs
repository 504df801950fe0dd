//! Profile files, with the proofs that their rules do not meet.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shopmend::profile::Profiles;

fuzz_target!(|text: &str| {
    if let Ok(profiles) = Profiles::from_text_alone("own.toml", text) {
        for app in profiles.apps() {
            for root in app.root_ids() {
                let _ = app.rules_of(root).top().below();
            }
        }
    }
});
