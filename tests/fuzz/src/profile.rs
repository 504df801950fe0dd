//! Profile files, with the proofs that their rules do not meet.

use shopmend::profile::Profiles;

/// Takes one input.
pub fn run(data: &[u8]) {
    let text = data.utf8_chunks().next().map_or("", |c| c.valid());
    if let Ok(profiles) = Profiles::from_text_alone("own.toml", text) {
        for app in profiles.apps() {
            for root in app.root_ids() {
                let _ = app.rules_of(root).top().below();
            }
        }
    }
}
