//! Salvages a damaged database: `salvage DAMAGED NEW [HEALTHY-COPY-FOR-THE-SCHEMA]`.

use std::path::PathBuf;
use std::process::ExitCode;

use shopmend_sqlite::report::Outcome;
use shopmend_sqlite::{Control, SalvageOptions, salvage};

fn main() -> ExitCode {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let (damaged, new, schema_from) = match paths.as_slice() {
        [damaged, new] => (damaged, new, None),
        [damaged, new, healthy] => (damaged, new, Some(healthy.as_path())),
        _ => {
            eprintln!("usage: salvage DAMAGED NEW [HEALTHY]");
            return ExitCode::from(64);
        }
    };
    let options = SalvageOptions { schema_from, ..SalvageOptions::default() };
    match salvage(damaged, new, &options, &Control::default()) {
        Ok(report) => {
            print!("{}", report.text());
            ExitCode::from(if report.outcome() == Outcome::Complete { 0 } else { 3 })
        }
        Err(error) => {
            eprintln!("salvage: {error}");
            ExitCode::from(5)
        }
    }
}
