//! What a simulated network tells its owner, and the names of hosts, streams and translators.
//! An owner takes events one at a time and acts on each before the next: nothing happens in between.

use std::net::SocketAddr;

use bytes::Bytes;

/// A host, in the order of [`Net::add_host`](crate::Net::add_host).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub u32);

/// An address translator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NatId(pub u32);

/// One end of a stream; the other end has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Something that happened to a host, at [`Net::now`](crate::Net::now).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A datagram came.
    Datagram {
        /// To whom.
        host: HostId,
        /// To which of its ports.
        port: u16,
        /// From where, as seen here: behind a translator, from that one's address.
        from: SocketAddr,
        /// What.
        bytes: Bytes,
    },
    /// Somebody connected to a port that is listened on.
    Accepted {
        /// Whom.
        host: HostId,
        /// The end at that host.
        stream: StreamId,
        /// From where.
        from: SocketAddr,
    },
    /// A stream that this host asked for stands.
    Connected {
        /// Who asked.
        host: HostId,
        /// Its end.
        stream: StreamId,
    },
    /// A stream that this host asked for will not be: nobody listens, or nobody answers. The id is forgotten.
    ConnectFailed {
        /// Who asked.
        host: HostId,
        /// Its end.
        stream: StreamId,
    },
    /// Bytes came; [`Net::read`](crate::Net::read) takes them.
    Readable {
        /// Whose end.
        host: HostId,
        /// Which.
        stream: StreamId,
    },
    /// After a `write` that did not take all: there is room again.
    Writable {
        /// Whose end.
        host: HostId,
        /// Which.
        stream: StreamId,
    },
    /// The other end is gone.
    Closed {
        /// Whose end.
        host: HostId,
        /// Which.
        stream: StreamId,
        /// Whether the stream broke: nothing can be read any more and the id is forgotten. Otherwise what came is
        /// still there to be read, until [`Net::close`](crate::Net::close).
        reset: bool,
    },
    /// The alarm of a host.
    Wake {
        /// Whose.
        host: HostId,
    },
}
