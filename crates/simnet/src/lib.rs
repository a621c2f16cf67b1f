//! A simulated network: virtual time, hosts, datagrams and streams with faults, address translation. It knows no
//! protocol; the same seed and the same calls give the same events, which [`Net::trace`] proves.
//!
//! ```
//! use simnet::{Event, Link, Net};
//!
//! let mut net = Net::new(7);
//! net.set_link(Link { loss: 0.0, ..Link::default() });
//! let (alice, bob) = (net.add_host([8, 0, 0, 1].into()), net.add_host([9, 0, 0, 1].into()));
//! net.send_datagram(alice, 30303, "9.0.0.1:30303".parse()?, b"ping"[..].into());
//! let end = net.now().instant + std::time::Duration::from_secs(1);
//! let Some(Event::Datagram { host, from, bytes, .. }) = net.next_event(end) else { panic!("nothing came") };
//! assert_eq!((host, from.to_string().as_str(), &bytes[..]), (bob, "8.0.0.1:30303", &b"ping"[..]));
//! assert_eq!(net.next_event(end), None, "and the clock stands at the end");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod event;
mod link;
mod nat;
mod net;
mod places;
mod stream;
mod trace;

pub use event::{Event, HostId, NatId, StreamId};
pub use link::Link;
pub use nat::{NatConfig, NatKind};
pub use net::Net;
pub use stream::{CONNECT_TIMEOUT, MAX_SEGMENT_LEN, PATIENCE, RETRANSMISSION, WINDOW_LEN};
pub use trace::Trace;
