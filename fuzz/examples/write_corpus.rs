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
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with("found_") && seeds.iter().all(|seed| seed.name != name) {
                fs::remove_file(entry.path())?;
            }
        }
        for seed in seeds {
            let path = folder.join(&seed.name);
            if !seed.is_drawn || !path.exists() {
                fs::write(path, &seed.bytes)?;
            }
        }
    }
    Ok(())
}
