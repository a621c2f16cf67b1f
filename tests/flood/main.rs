//! The program `flood`: a node that is attacked, or those who attack it, each a process. Tests start it (`tests/floods`);
//! it listens on and connects to loopback alone, and every attack ends by itself.
//! A process prints a line when it is ready, begins with the first line of its input and ends when it is done; the node
//! says goodbye to its peers and ends when its input does.

mod claims;
mod crowd;
mod deaf;
mod fragile;
mod guests;
mod half_open;
mod handshakes;
mod mixed;
mod node;
mod pace;
mod scarcity;
mod storm;
mod talkative;

use std::{
    io, panic,
    process::{ExitCode, abort},
};

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
        /// The most memory that the system gives it, in bytes.
        #[arg(long)]
        memory: Option<u64>,
        /// The one core that it runs on.
        #[arg(long)]
        core: Option<usize>,
    },
    /// Be a node whose protocol panics where a peer wants it to. Answers each line with what it has counted.
    Fragile,
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
    /// Be peers that begin a message of 16 MiB each, and never end it.
    Claims {
        #[command(flatten)]
        attack: Attack,
        /// Peers.
        #[arg(long)]
        count: u32,
    },
    /// Be peers that come and go.
    Storm {
        #[command(flatten)]
        attack: Attack,
        /// Sessions in a second.
        #[arg(long)]
        rate: u32,
    },
    /// Be peers that send small messages without a pause.
    Talkative {
        #[command(flatten)]
        attack: Attack,
        /// Peers.
        #[arg(long)]
        count: u32,
    },
    /// Be peers that stay until the node ends them.
    Guests {
        #[command(flatten)]
        attack: Attack,
        /// Those that read what they are told.
        #[arg(long)]
        count: u32,
        /// Those that ask for messages, and neither read nor close.
        #[arg(long)]
        stuck: u32,
    },
    /// Be peers of every bad kind.
    Mixed {
        #[command(flatten)]
        attack: Attack,
        /// Peers.
        #[arg(long)]
        count: u32,
    },
    /// Keep a core busy.
    Burn {
        /// Which.
        #[arg(long)]
        core: usize,
        /// For how long.
        #[arg(long)]
        seconds: u32,
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
    raise_open_files();
    match run(Program::parse().role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("flood: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(role: Role) -> Result<()> {
    match role {
        Role::Node { budget, memory, core } => {
            // A panic is a fault whoever would have caught it: the test gets no answer after one.
            panic::set_hook(Box::new(|panic| {
                eprintln!("flood: {panic}");
                abort();
            }));
            // Before there are threads: those have what this one has.
            memory.map_or(Ok(()), scarcity::limit_memory)?;
            core.map_or(Ok(()), scarcity::stay_on)?;
            Builder::new_multi_thread().enable_all().build()?.block_on(node::run(budget))
        }
        Role::Fragile => Builder::new_multi_thread().enable_all().build()?.block_on(fragile::run()),
        Role::Handshakes { attack, valid, bad } => {
            alone(async { handshakes::run(&checked(attack)?, valid, bad).await })
        }
        Role::HalfOpen { attack, count } => alone(async { half_open::run(&checked(attack)?, count).await }),
        Role::Deaf { attack, count } => alone(async { deaf::run(&checked(attack)?, count).await }),
        Role::Claims { attack, count } => alone(async { claims::run(&checked(attack)?, count).await }),
        Role::Storm { attack, rate } => alone(async { storm::run(&checked(attack)?, rate).await }),
        Role::Talkative { attack, count } => alone(async { talkative::run(&checked(attack)?, count).await }),
        Role::Guests { attack, count, stuck } => {
            alone(async { guests::run(&checked(attack)?, count, stuck).await })
        }
        Role::Mixed { attack, count } => alone(async { mixed::run(&checked(attack)?, count).await }),
        Role::Burn { core, seconds } => scarcity::burn(core, seconds),
    }
}

/// Runs an attack on this thread.
fn alone(attack: impl Future<Output = Result<()>>) -> Result<()> {
    Builder::new_current_thread().enable_all().build()?.block_on(attack)
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
