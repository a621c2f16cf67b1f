//! `devp2p key`: node keys in files.
//! The file's form and how it is created safely are identity's.

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;
use devp2p::identity::NodeKey;
use rand::{rand_core::UnwrapErr, rngs::SysRng};

use crate::{failure::Failure, output::say};

#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    /// Write a new node key to FILE (64 hex digits, mode 0600), and print the node it makes.
    Generate {
        /// The file to create; one that exists is left as it is.
        file: PathBuf,
    },
}

pub(crate) fn run(command: &KeyCommand) -> Result<ExitCode, Failure> {
    let KeyCommand::Generate { file } = command;
    let key = NodeKey::generate(&mut UnwrapErr(SysRng));
    key.create(file).map_err(Failure::input)?;
    say(format_args!("file        {}", file.display()));
    say(format_args!("public key  {}", key.public_key()));
    say(format_args!("node id     {}", key.node_id()));
    Ok(ExitCode::SUCCESS)
}
