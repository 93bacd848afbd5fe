//! The binary `portcullis`. All it adds to the library is the allocator.

use std::process::ExitCode;

/// Of the allocators that were measured, the only one that gives the memory of a flood of connections back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    portcullis_gateway::cli::main()
}
