//! The program `devp2p`: one verb a file. Bad input ends it with one line on standard error and exit code 2.
//! Everything that a library user may want too stands in the crate devp2p, not here.

mod advice;
mod args;
mod bench;
mod devnet;
mod discv4_ping;
mod failure;
mod fork_check;
mod key;
mod logging;
mod memory;
mod node;
mod open_files;
mod output;
mod peer_view;
mod rlpx_ping;
mod setup;
mod sim;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Failure;

/// Ethereum-style peer-to-peer networking: run a node, a network of nodes, or talk to one.
#[derive(Parser)]
#[command(name = "devp2p", version, arg_required_else_help = true)]
struct Program {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a node until it is interrupted.
    Node(node::NodeCommand),
    /// Run a network of complete nodes in this process and measure its gossip.
    Devnet(devnet::DevnetCommand),
    /// Simulated networks that replay from a seed.
    #[command(subcommand)]
    Sim(sim::SimCommand),
    /// Measure the hot paths against their physical limits, on one core.
    Bench(bench::BenchCommand),
    /// One of the other processes of a bench.
    #[command(hide = true)]
    BenchProcess(bench::ProcessCommand),
    /// Node keys.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Node discovery v4.
    #[command(subcommand)]
    Discv4(discv4_ping::Discv4Command),
    /// The encrypted transport.
    #[command(subcommand)]
    Rlpx(rlpx_ping::RlpxCommand),
}

fn main() -> ExitCode {
    let program = match Program::try_parse() {
        Ok(program) => program,
        Err(error) => return failure::report_usage(&error),
    };
    open_files::raise_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::system("the runtime cannot start", &error).report(),
    };
    match runtime.block_on(run(program.verb)) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

async fn run(verb: Verb) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Node(command) => node::run(command).await,
        Verb::Devnet(command) => devnet::run(command).await,
        Verb::Sim(command) => sim::run(command).await,
        Verb::Bench(command) => bench::run(command).await,
        Verb::BenchProcess(command) => bench::run_process(command).await,
        Verb::Key(command) => key::run(&command),
        Verb::Discv4(command) => discv4_ping::run(command).await,
        Verb::Rlpx(command) => rlpx_ping::run(command).await,
    }
}
