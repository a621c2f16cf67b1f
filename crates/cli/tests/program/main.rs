//! Tests that start the program.
//! What a verb does inside is tested where it stands; here is only what a user sees: output, exit codes, files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod bench;
mod breaches;
mod devnet;
mod greedy;
mod hostile;
mod nat;
mod node;
mod sim;
mod stranger;
mod twins;
mod watched;

use std::process::{Command, Output, Stdio};

/// The program, with a home directory that cannot be.
fn devp2p(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devp2p"));
    command.args(arguments).env("HOME", "/dev/null/home").env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs the program to its end.
fn run(arguments: &[&str]) -> Output {
    devp2p(arguments).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
