//! A go-ethereum on loopback: launched with a data directory of its own, killed when dropped.
//! What it is asked stands in `calls`, its command line in `options`, the process and its log in `process` and `log`.

mod calls;
pub(crate) mod log;
mod options;
mod ports;
mod process;
mod program;
mod slots;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use identity::Enode;
use tempfile::TempDir;

pub use self::{
    calls::{AdminPeer, Block, TableNode},
    options::Options,
    program::{dump_genesis, genesis_block},
    slots::Slots,
};
use self::{log::Log, ports::Ports, process::Process, slots::Taken};
use crate::{Failure, Result, Rpc, engine::Engine, jwt::JwtSecret};

/// From its start until geth listens: 0.3 s on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(60);
/// From SIGTERM until geth has written its state and ended.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// Launches with other ports when another program took one between the choice and the start.
const MAX_PORT_CHOICES: usize = 3;
/// The secret of the engine API. It guards nothing: the API listens on loopback for as long as the test runs.
const SECRET: JwtSecret = JwtSecret([0x5a; 32]);

/// A running go-ethereum, or a stopped one whose data directory is still there.
#[derive(Debug)]
pub struct Geth {
    directory: TempDir,
    options: Options,
    ports: Ports,
    process: Process,
    enode: Enode,
    rpc: Rpc,
    engine: Engine,
    /// Given back when geth is dropped.
    _slots: Arc<Taken>,
}

impl Geth {
    /// Launches a geth; waits for a free slot. A test with more than one takes [`Slots`] first.
    ///
    /// # Errors
    /// Without geth one line that says how to get it; else why it did not start, with the end of its log.
    pub fn launch(options: Options) -> Result<Self> {
        Slots::take(1).launch(options)
    }

    fn launch_in(slots: Arc<Taken>, options: Options) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        fs::write(directory.path().join("jwt"), hex::encode(SECRET.0))?;
        program::init(&directory.path().join("data"), options.genesis_text())?;
        let mut choices = 1;
        let (ports, process) = loop {
            let ports = Ports::choose()?;
            match start(directory.path(), &options, &ports) {
                Ok(process) => break (ports, process),
                Err(failure)
                    if failure.to_string().contains("address already in use")
                        && choices < MAX_PORT_CHOICES =>
                {
                    choices += 1;
                }
                Err(failure) => return Err(failure),
            }
        };
        let enode = read_enode(process.log())?;
        let rpc = Rpc::new(loopback(ports.http));
        let engine = Engine::new(Rpc::with_secret(loopback(ports.engine), SECRET));
        let geth = Self { directory, options, ports, process, enode, rpc, engine, _slots: slots };
        geth.confirm_head()?;
        Ok(geth)
    }

    /// Ends geth as a crash would (SIGKILL): its head is afterwards what it was when it last ended in good order.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Ends geth in good order (SIGTERM) and waits until it has ended.
    ///
    /// # Errors
    /// When it has not ended within 30 s.
    pub fn stop(&mut self) -> Result<()> {
        self.process.stop(STOP_LIMIT)
    }

    /// Starts geth again after [`Geth::kill`] or [`Geth::stop`]: same data, same key, same ports.
    ///
    /// # Errors
    /// Why it did not start, with the end of its log.
    pub fn start(&mut self) -> Result<()> {
        self.process.kill();
        self.process = start(self.directory.path(), &self.options, &self.ports)?;
        self.confirm_head()
    }

    /// Where geth is reached: RLPx and discovery on the same port of 127.0.0.1.
    pub const fn enode(&self) -> &Enode {
        &self.enode
    }

    /// The HTTP API (admin, debug, eth, net, txpool, web3), for calls that have no method here.
    pub const fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// The number of geth's process.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// What geth logged last, for the message of a failed test.
    pub fn log_tail(&self) -> String {
        self.process.log().tail()
    }

    /// Waits for a line of geth's log, from its start on, in which `find` finds something.
    ///
    /// # Errors
    /// When there is none within `limit`, or geth ends.
    pub fn wait_for_log<T>(
        &self,
        what: &str,
        limit: Duration,
        find: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        self.process.log().wait_for(what, limit, find)
    }

    /// Builds `count` blocks of the pool's transactions on the head, and returns the new head's hash.
    ///
    /// # Errors
    /// When geth refuses one; None of `count` is an error too.
    pub fn build(&self, count: usize) -> Result<[u8; 32]> {
        let mut head = Err(Failure::new("asked for no block"));
        for _ in 0..count {
            head = Ok(self.engine.build(self.process.log())?);
        }
        head
    }

    /// Makes `head` the head, fetched from peers where geth lacks it; waits until it is, at most 60 s.
    ///
    /// # Errors
    /// When geth refuses the head or does not get it.
    pub fn sync_to(&self, head: &[u8; 32]) -> Result<()> {
        self.engine.sync_to(head).map_err(|failure| self.with_log(&failure))
    }

    /// geth drops all it hears of transactions until it is told a head; its own will do.
    fn confirm_head(&self) -> Result<()> {
        self.engine.confirm_head().map_err(|failure| self.with_log(&failure))
    }

    fn with_log(&self, failure: &Failure) -> Failure {
        Failure::new(format!("{failure}\n{}", self.log_tail()))
    }
}

impl Drop for Geth {
    /// A failing test shows what geth saw; the process is ended with its handle.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}\n{}", self.enode, self.log_tail());
        }
    }
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// Starts the process on its data directory and waits until it listens everywhere.
fn start(directory: &Path, options: &Options, ports: &Ports) -> Result<Process> {
    let config = directory.join("config.toml");
    fs::write(&config, options::config_file(ports))?;
    let process = Process::spawn(program::command()?.args(options.arguments(directory, ports)))?;
    process.log().wait_for("geth to listen for peers", START_LIMIT, |line| {
        line.contains("Started P2P networking").then_some(())
    })?;
    process.log().wait_for("geth's engine API", START_LIMIT, |line| {
        (line.contains("HTTP server started") && line.contains("auth=true")).then_some(())
    })?;
    Ok(process)
}

fn read_enode(log: &Log) -> Result<Enode> {
    let url = log.wait_for("geth's enode URL", START_LIMIT, |line| {
        line.find("enode://").and_then(|start| line[start..].split([' ', '"']).next()).map(str::to_owned)
    })?;
    // What geth appends when discovery is off.
    let url = url.trim_end_matches("?discport=0");
    url.parse().map_err(|error| Failure::new(format!("{url}: {error}")))
}
