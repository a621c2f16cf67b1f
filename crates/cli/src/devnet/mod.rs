//! `devp2p devnet`: a network of complete nodes in this process, on real sockets of loopback, that gossips transactions
//! and blocks and is measured from outside: by what each node's own pool, chain and sockets say.

mod client;
mod ledger;
mod load;
mod run;
mod summary;
mod swarm;
mod view;

use std::{process::ExitCode, time::Duration};

use clap::Args;

use crate::{args::parse_duration, failure::Failure, output::say};

/// The most nodes: each has two sockets, a few tasks and its own pool and chain.
const MAX_NODES: usize = 200;
/// The most transactions a second that the load makes.
const MAX_TX_RATE: f64 = 1_000.0;
/// The longest run.
const MAX_DURATION: Duration = Duration::from_secs(24 * 3_600);
/// The shortest time between blocks: blocks of one second that race each other prove nothing.
const MIN_BLOCK_TIME: Duration = Duration::from_millis(100);

/// Run a network of complete nodes in this process and measure its gossip.
#[derive(Args, Clone, Debug)]
pub(crate) struct DevnetCommand {
    /// How many nodes.
    #[arg(long, default_value_t = 12, value_parser = parse_nodes)]
    nodes: usize,
    /// How long transactions and blocks enter: seconds, or a number with ms, s, m or h.
    #[arg(long, default_value = "30s", value_parser = parse_run_time)]
    duration: Duration,
    /// Transactions a second.
    #[arg(long, default_value_t = 10.0, value_parser = parse_rate, allow_negative_numbers = true)]
    tx_rate: f64,
    /// Time between blocks.
    #[arg(long, default_value = "2s", value_parser = parse_block_time)]
    block_time: Duration,
    /// Chooses origins, producers and which nodes stop [default: a random one].
    #[arg(long)]
    seed: Option<u64>,
    /// Stop this many random nodes half-way.
    #[arg(long, default_value_t = 0, value_name = "N")]
    kill: usize,
    /// Print the summary as one JSON object and nothing else.
    #[arg(long)]
    json: bool,
    /// 0 silent, 1 errors, 2 warnings, 3 information, 4 debugging, 5 everything.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=5))]
    verbosity: u8,
}

/// Runs the network. Exit code 0 only when every transaction and block reached every running node.
pub(crate) async fn run(command: DevnetCommand) -> Result<ExitCode, Failure> {
    if command.kill >= command.nodes {
        let DevnetCommand { kill, nodes, .. } = command;
        return Err(Failure::input(format!(
            "--kill {kill} leaves no node of {nodes}: stop at most {}",
            nodes - 1
        )));
    }
    crate::logging::start(command.verbosity);
    let json = command.json;
    let summary = run::run(command).await?;
    if json {
        let object =
            serde_json::to_string(&summary).expect("a summary has no map with keys other than strings");
        say(object);
    } else {
        say(&summary);
    }
    Ok(if summary.complete && !summary.interrupted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse_nodes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=MAX_NODES) => Ok(count),
        _ => Err(format!("write a number from 1 to {MAX_NODES}")),
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=MAX_TX_RATE).contains(&rate) => Ok(rate),
        _ => Err(format!("write a number from 0 to {MAX_TX_RATE}")),
    }
}

fn parse_run_time(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if duration <= MAX_DURATION { Ok(duration) } else { Err("write at most 24h".to_owned()) }
}

fn parse_block_time(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if duration >= MIN_BLOCK_TIME { Ok(duration) } else { Err(format!("write at least {MIN_BLOCK_TIME:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused() {
        assert!(parse_nodes("0").is_err() && parse_nodes("201").is_err() && parse_nodes("x").is_err());
        assert!(parse_rate("-1").is_err() && parse_rate("NaN").is_err() && parse_rate("1001").is_err());
        assert!(parse_run_time("25h").is_err() && parse_block_time("1ms").is_err());
    }
}
