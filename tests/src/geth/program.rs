//! Where geth is, and what its program does without running as a node: `init`, `export`, `dumpgenesis`.
//! It is looked for in the environment variable GETH, in PATH, and where `go install` puts programs.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use crate::{Failure, Result};

const MISSING: &str = "no geth found (GETH, PATH, GOPATH/bin); get it: go install github.com/ethereum/go-ethereum/cmd/geth@v1.17.8";

/// A command of geth without arguments. geth reads variables GETH_* itself, so it gets none.
pub(super) fn command() -> Result<Command> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| find(env::var_os("GETH"), env::var_os("PATH"), go_path()));
    let mut command = Command::new(program.as_ref().ok_or_else(|| Failure::new(MISSING))?);
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GETH")) {
        command.env_remove(name);
    }
    Ok(command)
}

/// Fills the data directory `data` with the first block of the chain that the text `genesis` describes.
pub(super) fn init(data: &Path, genesis: &str) -> Result<()> {
    let file = data.with_extension("genesis.json");
    fs::write(&file, genesis)?;
    run(command()?.arg("init").arg("--datadir").arg(data).arg(file)).map(drop)
}

/// The first block, as RLP, that geth makes of the text of a `genesis.json`.
///
/// # Errors
/// Without geth, or with its words when it refuses the text.
pub fn genesis_block(genesis: &str) -> Result<Vec<u8>> {
    let directory = tempfile::tempdir()?;
    let (data, blocks) = (directory.path().join("data"), directory.path().join("blocks.rlp"));
    init(&data, genesis)?;
    run(command()?.arg("export").arg("--datadir").arg(data).arg(&blocks).args(["0", "0"]))?;
    Ok(fs::read(blocks)?)
}

/// The `genesis.json` of a public network that geth knows by `name`: `mainnet`, `sepolia`, `hoodi`.
///
/// # Errors
/// Without geth, or with its words when it does not know the name.
pub fn dump_genesis(name: &str) -> Result<String> {
    let output = run(command()?.arg(format!("--{name}")).arg("dumpgenesis"))?;
    String::from_utf8(output.stdout).map_err(|_| Failure::new("geth dumpgenesis: no UTF-8"))
}

/// Runs a command to its end; a failure is told by the last line it printed.
fn run(command: &mut Command) -> Result<Output> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(output);
    }
    let printed = String::from_utf8_lossy(&output.stderr);
    let last = printed.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no word of it");
    Err(Failure::new(format!("{:?}: {}: {last}", command.get_program(), output.status)))
}

fn find(named: Option<OsString>, path: Option<OsString>, go_path: Option<PathBuf>) -> Option<PathBuf> {
    let named = named.map(PathBuf::from);
    let on_path: Vec<PathBuf> = path.map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    let of_go = go_path.map(|folder| folder.join("bin"));
    let candidates = on_path.into_iter().chain(of_go).map(|folder| folder.join("geth"));
    named.into_iter().chain(candidates).find(|file| file.is_file())
}

fn go_path() -> Option<PathBuf> {
    let output = Command::new("go").args(["env", "GOPATH"]).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(path.trim())).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geth_is_found_where_it_is_named_then_on_the_path_then_where_go_puts_it() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            fs::create_dir_all(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("geth"), "").unwrap();
            folder.path().join(name)
        };
        let (named, path, go_bin) = (place("named").join("geth"), place("path"), place("go/bin"));
        let on_path = || Some(env::join_paths([Path::new("/nowhere"), &path]).unwrap());
        let go_path = || Some(folder.path().join("go"));
        assert_eq!(find(Some(named.clone().into()), on_path(), go_path()), Some(named));
        assert_eq!(find(None, on_path(), go_path()), Some(path.join("geth")));
        assert_eq!(find(None, None, go_path()), Some(go_bin.join("geth")));
        assert_eq!(find(Some("/nowhere".into()), Some("/nowhere".into()), None), None);
        assert!(MISSING.contains("go install") && !MISSING.contains('\n'));
    }
}
