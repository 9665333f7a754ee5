//! For `kill9.sh` and `big.sh`: makes a big disk whose every byte can be computed, and checks what became of it.
//!
//!     scatter base  FILE SIZE_MIB DIRTY_MIB         write the base
//!     scatter cow   FILE BASE SIZE_MIB DIRTY_MIB    write a COW file on it
//!     scatter is-base|is-merged FILE SIZE_MIB DIRTY_MIB    exit 1, and say where, if it is not that

use std::path::Path;
use std::process::ExitCode;
use whole_program_tests::Scatter;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mib = |s: &str| s.parse::<u64>().map(|n| n << 20).unwrap_or_else(|e| panic!("{s}: {e}"));
    let disk = |size, dirty| Scatter { size: mib(size), dirty: mib(dirty) };
    match args[..] {
        ["base", file, size, dirty] => disk(size, dirty).make_base(Path::new(file)),
        ["cow", file, base, size, dirty] => disk(size, dirty).make_cow(Path::new(file), Path::new(base)),
        [what @ ("is-base" | "is-merged"), file, size, dirty] => {
            let found = disk(size, dirty).differs(Path::new(file), what == "is-merged");
            match found {
                Ok(None) => {}
                Ok(Some(at)) => {
                    eprintln!("{file}: differs at offset {at}");
                    return ExitCode::FAILURE;
                }
                Err(e) => {
                    eprintln!("{file}: {e}");
                    return ExitCode::from(2);
                }
            }
        }
        _ => {
            eprintln!("usage: scatter base|cow|is-base|is-merged …");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
