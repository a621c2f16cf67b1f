//! Node discovery v4: the UDP node table, endpoint proof and lookups. devp2p specification, `discv4.md`.
//!
//! [`Discovery`] is the machine: it takes datagrams, time and curve results, and puts out datagrams, curve jobs and
//! events; it does no IO. `Discv4` (feature `tokio`) drives it on a socket. What can be set is in [`Config`], what is
//! limited in [`config`], what is dropped in [`Reject`].
#![cfg_attr(
    feature = "tokio",
    doc = r#"
Two nodes on loopback, one of which pings the other:

```
use std::{net::SocketAddr, sync::Arc};

use discv4::{Config, Discv4};
use identity::{CurvePool, Endpoint, Enode, EnrBuilder, NodeKey};
use tokio::net::UdpSocket;

# fn main() -> Result<(), Box<dyn std::error::Error>> {
async fn start(key: NodeKey, curves: &CurvePool) -> Result<Discv4, Box<dyn std::error::Error>> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    let SocketAddr::V4(addr) = socket.local_addr()? else { return Err("bound to IPv4".into()) };
    let endpoint = Endpoint { ip: (*addr.ip()).into(), udp: addr.port(), tcp: 0 };
    let record = EnrBuilder::new(1).endpoint(endpoint).sign(&key)?;
    Ok(Discv4::start(socket, Config::default(), record, curves.handle(Arc::new(key)))?)
}

tokio::runtime::Runtime::new()?.block_on(async {
    let curves = CurvePool::for_this_machine();
    let alice = start(NodeKey::from_bytes(&[1; 32])?, &curves).await?;
    let bob = start(NodeKey::from_bytes(&[2; 32])?, &curves).await?;

    let record = bob.local_enr();
    let enode = Enode::new(record.public_key(), record.endpoint().ok_or("no endpoint")?);
    let pong = alice.ping(&enode).await?;
    println!("{} answered after {:?}", pong.from, pong.rtt);
    assert_eq!(pong.enr_seq, Some(1));
    assert_eq!(alice.request_enr(&enode).await?, record);

    alice.shutdown().await;
    bob.shutdown().await;
    Ok(())
})
# }
```
"#
)]

mod bond;
mod candidates;
pub mod config;
mod discovery;
#[cfg(feature = "tokio")]
mod driver;
mod home;
mod jobs;
mod limiter;
mod lookup;
mod pending;
mod refresh;
mod reject;
mod replay;
mod revalidation;
#[cfg(test)]
mod story;
mod table;
mod twin;
pub mod wire;

pub use config::Config;
pub use discovery::{Discovery, Event, Load, MAX_OUTPUTS_PER_CALL, Output, PongInfo, RequestError};
#[cfg(feature = "tokio")]
pub use driver::{CandidateStream, Closed, Counts, Discv4};
pub use lookup::LookupId;
pub use pending::RequestId;
pub use reject::Reject;
pub use table::{BucketSnapshot, NodeEntry, TableSnapshot};
