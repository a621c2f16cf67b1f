//! Writes the seeds of every target to `corpus/`, for a change that moves them. What fuzzers found stays.
//! `cargo run --package eth-fuzz --example write_corpus`

#[path = "../tests/seeds/mod.rs"]
mod seeds;

use std::fs;

fn main() -> std::io::Result<()> {
    for (target, seeds) in seeds::all() {
        let folder = seeds::folder(target);
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with("found_") {
                fs::remove_file(entry.path())?;
            }
        }
        for seed in seeds {
            fs::write(folder.join(&seed.name), &seed.bytes)?;
        }
    }
    Ok(())
}
