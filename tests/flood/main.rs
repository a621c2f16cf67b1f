//! The program `flood`: a node that is attacked, or those who attack it, each a process. Tests start it (`tests/floods`);
//! it listens on and connects to loopback alone, and every attack ends by itself.
//! A process prints a line when it is ready, begins with the first line of its input and ends with the last, or is done.

mod deaf;
mod half_open;
mod handshakes;
mod node;
mod pace;

use std::{io, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use devp2p::identity::{Enode, Host};
use interop::{Failure, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Builder;

#[derive(Parser)]
struct Program {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Be the node. Answers each line with what it has counted.
    Node {
        /// Bytes that all peers may hold together.
        #[arg(long)]
        budget: usize,
    },
    /// Begin handshakes: those of new keys, and those whose auth was changed on its way.
    Handshakes {
        #[command(flatten)]
        attack: Attack,
        /// Good ones in a second.
        #[arg(long)]
        valid: u32,
        /// Others in a second.
        #[arg(long)]
        bad: u32,
    },
    /// Hold connections that say nothing, and replace those that end.
    HalfOpen {
        #[command(flatten)]
        attack: Attack,
        /// Connections at a time.
        #[arg(long)]
        count: u32,
    },
    /// Be peers that ask for messages and read none.
    Deaf {
        #[command(flatten)]
        attack: Attack,
        /// Peers.
        #[arg(long)]
        count: u32,
    },
}

#[derive(Args)]
struct Attack {
    /// Who is attacked.
    target: Enode,
    /// For how long.
    #[arg(long)]
    seconds: u32,
}

fn main() -> ExitCode {
    let role = Program::parse().role;
    raise_open_files();
    let runtime = match &role {
        Role::Node { .. } => Builder::new_multi_thread().enable_all().build(),
        Role::Handshakes { .. } | Role::HalfOpen { .. } | Role::Deaf { .. } => {
            Builder::new_current_thread().enable_all().build()
        }
    };
    let run = async {
        match role {
            Role::Node { budget } => node::run(budget).await,
            Role::Handshakes { attack, valid, bad } => handshakes::run(&checked(attack)?, valid, bad).await,
            Role::HalfOpen { attack, count } => half_open::run(&checked(attack)?, count).await,
            Role::Deaf { attack, count } => deaf::run(&checked(attack)?, count).await,
        }
    };
    match runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(run)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("flood: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Each connection is an open file.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where this fails the first connection beyond the limit says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Nobody but a node on loopback is attacked.
fn checked(attack: Attack) -> Result<Attack> {
    match &attack.target.host {
        Host::Ip(ip) if ip.is_loopback() => Ok(attack),
        Host::Ip(_) | Host::Dns(_) => Err(Failure::new("the target is not on loopback")),
    }
}

/// Says that all is prepared, and waits for the word.
fn ready() -> Result<()> {
    println!("ready");
    io::stdin().read_line(&mut String::new())?;
    Ok(())
}
