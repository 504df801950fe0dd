//! One result, several formats. Every format is made from the same
//! [`Document`], so that none can say what another does not.

mod closing;
mod document;
mod html;
mod json;
mod log;
mod text;
mod triage;

pub use closing::{before, closing, preview};
pub use document::{Document, Phase, StateDoc, StoreDoc, Summary, TargetDoc};
pub use html::html;
pub use json::json;
pub use log::log;
pub use text::{Style, finding_lines, findings, text};
pub use triage::TriageDocument;

/// A size for people: `312.4 MiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string()
}

/// A number with its noun: `1 file`, `2 files`.
#[must_use]
pub fn count(n: u64, noun: &str) -> String {
    let plural = match noun {
        "entry" => "entries".to_owned(),
        "copy" => "copies".to_owned(),
        other => format!("{other}s"),
    };
    if n == 1 { format!("1 {noun}") } else { format!("{n} {plural}") }
}
