//! The machines of every layer inside a simulated network, and scenarios over many of them that replay from a seed:
//! [`discovery`] (tables, lookups) and [`gossip`] (whole nodes). Nothing here touches a socket, a clock or a curve.
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

mod curve;
pub mod discovery;
pub mod gossip;
pub mod node;
mod place;
mod seconds;

pub use curve::{SimCurve, numbered_key, sign_record};
pub use place::MAX_NODES;
