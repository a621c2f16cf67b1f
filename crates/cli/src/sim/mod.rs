//! `devp2p sim`: the scenarios of the crate world for people. Thousands of nodes in a simulated network, hours of virtual
//! time, all of it from one seed: what a test found with a seed is seen here with `--seed`.

mod chart;
mod discovery;
mod gossip;
mod input;
mod plot_file;
mod progress;
mod run;

use std::process::ExitCode;

use clap::Subcommand;

use self::{discovery::DiscoveryCommand, gossip::GossipCommand};
use crate::failure::Failure;

/// Run a simulated network from a seed.
#[derive(Subcommand)]
pub(crate) enum SimCommand {
    Discovery(DiscoveryCommand),
    Gossip(GossipCommand),
}

/// What a line says after its verb, as a shell brings it.
#[cfg(test)]
fn parsed<C: clap::Args>(verb: &str, line: &str) -> C {
    #[derive(clap::Parser)]
    struct Words<C: clap::Args> {
        #[command(flatten)]
        command: C,
    }
    let words = line.split(' ').skip_while(|word| *word != verb);
    <Words<C> as clap::Parser>::try_parse_from(words).unwrap().command
}

/// Runs the scenario. Exit code 0 only when what it claims held to the end.
pub(crate) async fn run(command: SimCommand) -> Result<ExitCode, Failure> {
    match command {
        SimCommand::Discovery(command) => run::run(command.settings()?, command.output).await,
        SimCommand::Gossip(command) => run::run(command.settings()?, command.output).await,
    }
}
