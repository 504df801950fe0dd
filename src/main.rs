//! The program: everything is in the library.

use std::process::ExitCode;

/// A scan holds hundreds of thousands of short paths, which this allocator
/// handles much faster than those of the C libraries, above all musl's.
#[cfg(not(target_vendor = "apple"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    shopmend::run::run().into()
}
