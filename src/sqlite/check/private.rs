//! What only SQLite can say, on private copies: whether the schema parses, and
//! for a deep check its own verdict.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Duration;

use super::super::connect::{self, Access};
use super::CheckError;
use super::report::Report;
use super::view::View;
use super::walk::{Map, Use};
use crate::control::Control;
use crate::finding::Remedy;

/// How long SQLite may take over a schema.
const SCHEMA_TIME: Duration = Duration::from_secs(20);

/// Lets SQLite load the schema from a private copy that has the pages of
/// `sqlite_schema` and nothing else. Gives a note when that was not possible.
pub(super) fn schema_loads(
    view: &View<'_>,
    map: &Map,
    report: &Report,
    control: &Control,
) -> Result<Option<String>, CheckError> {
    let unable =
        |e: io::Error| Some(format!("statements of the schema: no private copy could be made ({e})"));
    let dir = match tempfile::tempdir() {
        Ok(dir) => dir,
        Err(e) => return Ok(unable(e)),
    };
    let path = dir.path().join("schema.db");
    if let Err(e) = copy_schema(view, map, &path) {
        return Ok(unable(e));
    }
    let outcome = connect::open(&path, Access::Read, control, Some(SCHEMA_TIME))
        .and_then(|db| db.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get::<_, i64>(0)));
    control.safe_point()?;
    match outcome {
        Ok(_) => Ok(None),
        Err(e) if is_verdict(&e) => {
            let message = crate::text::printable(&e.to_string());
            report
                .damage("sqlite.schema", Remedy::Rebuild, "SQLite cannot read the schema")
                .page(1)
                .expected("statements that parse", message);
            Ok(None)
        }
        Err(e) => Ok(Some(format!("statements of the schema: {}", crate::text::printable(&e.to_string())))),
    }
}

/// Whether an error is about the database and not about the copy or the time.
fn is_verdict(e: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, Unknown};
    matches!(e.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase | Unknown))
}

/// Writes the pages of `sqlite_schema` to a file of the database's size; the rest stays a hole.
fn copy_schema(view: &View<'_>, map: &Map, path: &Path) -> io::Result<()> {
    let mut out = File::create_new(path)?;
    let size = u64::from(view.page_size);
    let mut page = vec![0; view.page_size as usize];
    for number in 1..=map.last() {
        let of_schema = matches!(map.owner(number), (Use::Leaf | Use::Interior | Use::Overflow, 0));
        if number != 1 && !of_schema {
            continue;
        }
        view.page(number, &mut page)?;
        if number == 1 {
            // The copy has no log; and its size is what the header says.
            let mut put = |at: usize, bytes: &[u8]| {
                if let Some(to) = page.get_mut(at..at + bytes.len()) {
                    to.copy_from_slice(bytes);
                }
            };
            if view.header.write_version == 2 {
                put(18, &[1]);
            }
            if view.header.read_version == 2 {
                put(19, &[1]);
            }
            put(28, &map.last().to_be_bytes());
            put(92, &view.header.change_counter.to_be_bytes());
        }
        out.seek(SeekFrom::Start(u64::from(number - 1) * size))?;
        out.write_all(&page)?;
    }
    out.set_len(u64::from(map.last()) * size)
}
