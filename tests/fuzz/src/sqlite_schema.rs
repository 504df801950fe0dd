//! Statements of a schema, whole and hurt.

use shopmend::sqlite::ddl::{self, Statement};
use shopmend::sqlite::salvage::mend;
use shopmend::sqlite::salvage::shape::Shape;
use shopmend::sqlite::salvaged::ObjectKind;

/// Takes one input.
pub fn run(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    match ddl::parse(&text) {
        Ok(Statement::Table(table)) => {
            let _ = Shape::of_table(&table);
            for index in table.bound_auto_indexes() {
                let _ = Shape::of_index(&index, &table);
            }
        }
        Ok(_) => {}
        // Mending tries many readings: seldom, and short texts.
        Err(_) if how % 8 == 0 && text.len() < 400 => {
            let _ = mend::statement(&text, ObjectKind::Table, "t", "t", &mut mend::Budget::default());
        }
        Err(_) => {}
    }
}
