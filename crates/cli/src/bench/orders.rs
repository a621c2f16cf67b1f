//! The other processes of a bench: the program runs itself again, under a verb that help does not name, once to serve
//! peers and once to be them. So the memory and time of the serving process are of nothing else, and the load has a core
//! of its own. What they are told stands here, a line an order, and so does their life; what they do in `serve` and `load`.

use std::{fmt, io, process::ExitCode, str::FromStr};

use clap::{Args, Subcommand};
use devp2p::{
    identity::Enode,
    rlpx::{CapabilityName, ProtocolVersion},
};
use tokio::{runtime::Builder, sync::mpsc, task::spawn_blocking};

use super::{load::Peers, pin, serve::Serving};
use crate::{failure::Failure, memory, output::say};

/// The verb.
pub(super) const VERB: &str = "bench-process";
/// The protocol that both speak: one version with one message.
pub(super) const PROTOCOL: &str = "bench";
pub(super) const V1: ProtocolVersion = ProtocolVersion { version: 1, message_count: 1 };
/// Orders that may wait: the bench waits for each answer.
const MAX_ORDERS: usize = 1;

/// One of the other processes of a bench. Ends with its standard input.
#[derive(Args, Clone, Debug)]
pub(crate) struct ProcessCommand {
    /// The core to run on.
    #[arg(long)]
    core: Option<usize>,
    #[command(subcommand)]
    role: Role,
}

#[derive(Clone, Debug, Subcommand)]
enum Role {
    /// Serve peers.
    Serve,
    /// Be the peers of a node.
    Load {
        /// The node.
        target: Enode,
    },
}

/// What a process is to do before it answers with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Serving: wait until there are so many peers.
    Peers(usize),
    /// Serving: wait until so many messages have come in all.
    Received(usize),
    /// Serving: the resident bytes.
    Memory,
    /// Serving: the nanoseconds of processor time.
    Time,
    /// Load: make so many auths.
    Prepare(usize),
    /// Load: shake hands with all that was prepared; how many were greeted.
    Shake,
    /// Load: connect so many peers more.
    Connect(usize),
    /// Load: let each peer send a message of so many bytes.
    Send(usize),
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peers(count) => write!(f, "peers {count}"),
            Self::Received(count) => write!(f, "received {count}"),
            Self::Memory => f.write_str("memory"),
            Self::Time => f.write_str("time"),
            Self::Prepare(count) => write!(f, "prepare {count}"),
            Self::Shake => f.write_str("shake"),
            Self::Connect(count) => write!(f, "connect {count}"),
            Self::Send(len) => write!(f, "send {len}"),
        }
    }
}

impl FromStr for Order {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let (word, number) = line.split_once(' ').unwrap_or((line, "0"));
        let number = number.parse().map_err(|_| format!("no number in {line:?}"))?;
        match word {
            "peers" => Ok(Self::Peers(number)),
            "received" => Ok(Self::Received(number)),
            "memory" => Ok(Self::Memory),
            "time" => Ok(Self::Time),
            "prepare" => Ok(Self::Prepare(number)),
            "shake" => Ok(Self::Shake),
            "connect" => Ok(Self::Connect(number)),
            "send" => Ok(Self::Send(number)),
            _ => Err(format!("no order: {line:?}")),
        }
    }
}

/// Serves orders until there are no more.
pub(crate) async fn run(command: ProcessCommand) -> Result<ExitCode, Failure> {
    let mut running = spawn_blocking(move || obey(command));
    loop {
        tokio::select! {
            ended = &mut running => {
                let ended = ended.map_err(|error| Failure::system("the process ended early", &error))?;
                return ended.map(|()| ExitCode::SUCCESS).map_err(Failure::failed);
            }
            // A terminal tells all processes; the bench ends this one when it has ended itself.
            _ = tokio::signal::ctrl_c() => {}
        }
    }
}

fn obey(command: ProcessCommand) -> Result<(), String> {
    if let Some(core) = command.core {
        // Where this fails the row is measured all the same, on whatever core there is.
        let _ = pin::pin_to(core);
    }
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let mut orders = orders()?;
        match command.role {
            Role::Serve => {
                let serving = Serving::start()?;
                say(serving.enode());
                let mut return_times = memory::return_times();
                loop {
                    tokio::select! {
                        order = orders.recv() => match order {
                            Some(order) => answer(serving.obey(order?).await),
                            None => break,
                        },
                        // As a node does.
                        _ = return_times.tick() => memory::return_free_memory(),
                    }
                }
            }
            Role::Load { target } => {
                let mut peers = Peers::new(&target)?;
                while let Some(order) = orders.recv().await {
                    answer(peers.obey(order?).await);
                }
            }
        }
        Ok(())
    })
}

/// The orders on standard input, read by a thread of its own.
fn orders() -> Result<mpsc::Receiver<Result<Order, String>>, String> {
    let (sender, orders) = mpsc::channel(MAX_ORDERS);
    let read = move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line.parse()).is_err() {
                return;
            }
        }
    };
    let started = std::thread::Builder::new().name("orders".to_owned()).spawn(read);
    started.map(|_| orders).map_err(|error| error.to_string())
}

fn answer(result: Result<u64, String>) {
    match result {
        Ok(number) => say(format_args!("ok {number}")),
        Err(error) => say(format_args!("failed {error}")),
    }
}

/// What both offer each other.
pub(super) fn capability_name() -> Result<CapabilityName, String> {
    CapabilityName::new(PROTOCOL).map_err(|error| error.to_string())
}

/// An order that a process has no part in.
pub(super) fn not_mine(order: Order) -> Result<u64, String> {
    Err(format!("{order}: an order for the other process"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_reads_back_as_what_was_written() {
        let orders = [
            Order::Peers(1),
            Order::Received(2),
            Order::Memory,
            Order::Time,
            Order::Prepare(3),
            Order::Shake,
            Order::Connect(4),
            Order::Send(5),
        ];
        for order in orders {
            assert_eq!(order.to_string().parse(), Ok(order));
        }
        for line in ["", "peers many", "sleep"] {
            assert!(line.parse::<Order>().is_err(), "{line}");
        }
    }
}
