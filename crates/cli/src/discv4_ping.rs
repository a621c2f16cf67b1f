//! `devp2p discv4`: one exchange with a node over discovery, told to people or as JSON.
//! The protocol is the crate discv4's; here is only what is asked and how it is told.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    sync::Arc,
};

use clap::Subcommand;
use devp2p::{
    discv4::{Config, Discv4, RequestError},
    identity::{CurvePool, Endpoint, Enode, Enr, EnrBuilder, Host},
};
use serde::Serialize;
use tokio::net::UdpSocket;

use crate::{
    args::PingArgs,
    failure::Failure,
    fork_check::{ForkCheck, client_of},
    logging,
    output::say,
    setup::{NewChain, node_key_or_random},
};

#[derive(Subcommand)]
pub(crate) enum Discv4Command {
    /// Ping a node and ask for its record.
    Ping(PingArgs),
}

/// What a node told us.
#[derive(Serialize)]
struct Report {
    node: String,
    node_id: String,
    answered: bool,
    /// From our Ping to its Pong, milliseconds.
    rtt_ms: Option<f64>,
    record_seq: Option<u64>,
    /// Where the node sees us.
    sees_us_at: Option<String>,
    record: Option<String>,
    /// The client, where the record tells it (EIP-7636).
    client: Option<String>,
    fork_id: Option<ForkCheck>,
    /// What to change, where something went wrong.
    advice: Option<String>,
}

pub(crate) async fn run(command: Discv4Command) -> Result<ExitCode, Failure> {
    let Discv4Command::Ping(command) = command;
    logging::start(command.verbosity);
    let chain = NewChain::from_args(&command.chain)?;
    let key = Arc::new(node_key_or_random(&command.key)?);
    let target = resolved(&command.node.0).await?;
    let pool = CurvePool::for_this_machine();
    let socket =
        UdpSocket::bind(local_for(&target)).await.map_err(|error| Failure::system("UDP socket", &error))?;
    let addr = socket.local_addr().map_err(|error| Failure::system("UDP socket", &error))?;
    let endpoint = Endpoint { ip: addr.ip(), udp: addr.port(), tcp: 0 };
    let record = EnrBuilder::new(1).endpoint(endpoint).sign(&key).map_err(Failure::failed)?;
    let discovery = Discv4::start(socket, Config::default(), record, pool.handle(key))
        .map_err(|error| Failure::system("discovery", &error))?;
    let report = exchange(&discovery, &target, &chain).await;
    discovery.shutdown().await;
    if command.json {
        say(serde_json::to_string(&report).expect("a report has string keys"));
    } else {
        print(&report);
    }
    Ok(if report.answered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn exchange(discovery: &Discv4, target: &Enode, chain: &NewChain) -> Report {
    let mut report = Report {
        node: target.to_string(),
        node_id: target.node_id().to_string(),
        answered: false,
        rtt_ms: None,
        record_seq: None,
        sees_us_at: None,
        record: None,
        client: None,
        fork_id: None,
        advice: None,
    };
    match discovery.ping(target).await {
        Ok(pong) => {
            report.answered = true;
            report.rtt_ms = Some((pong.rtt.as_secs_f64() * 1e6).round() / 1e3);
            report.record_seq = pong.enr_seq;
            report.sees_us_at = pong.told_endpoint.udp_addr().map(|addr| addr.to_string());
        }
        Err(error) => {
            report.advice = Some(advice(&error, target));
            return report;
        }
    }
    match discovery.request_enr(target).await {
        Ok(record) => add_record(&mut report, &record, chain),
        Err(error) => report.advice = Some(format!("the node answers pings but gave no record: {error}")),
    }
    report
}

fn add_record(report: &mut Report, record: &Enr, chain: &NewChain) {
    report.record = Some(record.to_string());
    report.record_seq = Some(record.seq());
    report.client = client_of(record);
    report.fork_id = Some(ForkCheck::of_record(record, &chain.status));
}

fn advice(error: &RequestError, target: &Enode) -> String {
    format!(
        "{error}: check that the node runs discovery on UDP port {}, that its key is the URL's, and that it may talk to \
         this machine (--netrestrict)",
        target.udp
    )
}

fn print(report: &Report) {
    say(format_args!("node     {}", report.node));
    say(format_args!("id       {}", report.node_id));
    match report.rtt_ms {
        Some(rtt) => say(format_args!("pong     after {rtt} ms")),
        None => say("pong     none"),
    }
    let lines = [("sees us", &report.sees_us_at), ("record", &report.record), ("client", &report.client)];
    for (name, value) in lines {
        say(format_args!("{name:<8} {}", value.as_deref().unwrap_or("not told")));
    }
    if let Some(check) = &report.fork_id {
        say(format_args!("fork id  {check}"));
    }
    if let Some(advice) = &report.advice {
        say(format_args!("advice   {advice}"));
    }
}

/// The node with an address in place of a name.
async fn resolved(node: &Enode) -> Result<Enode, Failure> {
    let Host::Dns(name) = &node.host else { return Ok(node.clone()) };
    let failed = |error: std::io::Error| Failure::input(format!("host {name:?} cannot be resolved: {error}"));
    let mut found = tokio::net::lookup_host((name.as_str(), node.udp)).await.map_err(failed)?;
    let addr = found.next().ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
    Ok(Enode { host: Host::Ip(addr.ip()), ..node.clone() })
}

/// An address to send from: loopback stays on loopback.
fn local_for(target: &Enode) -> SocketAddr {
    let ip = match &target.host {
        Host::Ip(IpAddr::V4(ip)) if ip.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        Host::Ip(IpAddr::V6(ip)) if ip.is_loopback() => Ipv6Addr::LOCALHOST.into(),
        Host::Ip(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        Host::Ip(IpAddr::V4(_)) | Host::Dns(_) => Ipv4Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(ip, 0)
}
