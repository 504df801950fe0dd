//! The report for programs.

use super::Document;

/// The document as indented JSON with a final line break.
///
/// # Errors
/// Never for a document that this program made.
pub fn json(document: &Document) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(document)?;
    text.push('\n');
    Ok(text)
}
