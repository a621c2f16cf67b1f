//! The machines of every layer inside a simulated network, and scenarios over many of them that replay from a seed:
//! [`discovery`] (tables, lookups) and [`gossip`] (whole nodes). Nothing here touches a socket, a clock or a curve.
//! A network of your own is made of [`discovery::Discoveries`] or, with whole nodes, of [`node::Nodes`].
//!
//! ```
//! use std::{ops::ControlFlow, time::Duration};
//!
//! use world::discovery::{DiscoverySettings, run_discovery};
//!
//! let settings = DiscoverySettings { nodes: 20, duration: Duration::from_secs(120), lookups: 10, ..Default::default() };
//! let report = run_discovery(&settings, &mut |_| ControlFlow::Continue(()));
//! assert!(report.holds && report.lookups == 10);
//! ```
//!
//! Whole nodes, whose packets are lost and connections broken, until all have all; the line that shows it to people:
//!
//! ```
//! use std::{ops::ControlFlow, time::Duration};
//!
//! use world::gossip::{GossipSettings, run_gossip};
//!
//! let settings = GossipSettings { nodes: 5, transactions: 20, duration: Duration::from_secs(60), ..Default::default() };
//! let report = run_gossip(&settings, &mut |_| ControlFlow::Continue(()));
//! assert!(report.holds && report.samples.last().is_some_and(|last| last.everywhere == 20));
//! assert_eq!(settings.command(), "devp2p sim gossip --seed 1 --nodes 5 --transactions 20 --duration 60s");
//! ```

mod curve;
pub mod discovery;
pub mod gossip;
pub mod node;
mod place;
mod replay;
mod seconds;

pub use curve::{SimCurve, numbered_key, sign_record};
pub use place::MAX_NODES;
