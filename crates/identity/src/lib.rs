//! Who an Ethereum node is and where: [`NodeKey`], [`PublicKey`], [`NodeId`], [`Endpoint`], [`Enode`], [`Enr`],
//! and the elliptic-curve jobs ([`curve`]) that every protocol machine hands to its driver.
//!
//! No protocol and no sockets live here. The two places that touch the system are the key file ([`NodeKey::load`],
//! [`NodeKey::create`]) and the clocks ([`Now::system`], for drivers).
//!
//! ```
//! use identity::{Enode, Endpoint, EnrBuilder, NodeKey};
//!
//! let key = NodeKey::from_hex("b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291")?;
//! let endpoint = Endpoint { ip: [127, 0, 0, 1].into(), udp: 30303, tcp: 30303 };
//! let enode = Enode::new(key.public_key(), endpoint);
//! assert!(enode.to_string().ends_with("@127.0.0.1:30303"));
//! let record = EnrBuilder::new(1).endpoint(endpoint).sign(&key)?;
//! assert_eq!(record.node_id(), key.node_id());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod context;
mod count;
pub mod curve;
mod endpoint;
mod enode;
mod key;
mod key_file;
mod node_id;
mod now;
#[cfg(feature = "pool")]
mod pool;
mod record;
pub mod steps;

pub use address::{AddressClass, AddressPolicy, NetList, NetListError, Prefix, unmapped};
pub use count::{Counters, Label};
pub use endpoint::Endpoint;
pub use enode::{Enode, EnodeError, Host};
pub use eth_keccak::{Keccak256, keccak256, keccak256_concat, lanes as keccak_lanes, update_each};
pub use key::{KeyError, NodeKey, PublicKey, Signature};
pub use key_file::KeyFileError;
pub use node_id::{Distance, NodeId};
pub use now::Now;
#[cfg(feature = "pool")]
pub use pool::{CurveHandle, CurvePool, JobRng};
pub use record::{Enr, EnrBuilder, EnrError, MAX_ENR_LEN, UnverifiedEnr};
