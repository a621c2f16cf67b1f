//! A hash over all that a network delivered: two runs with the same trace saw the same.
//! Covered are each byte, when it came, from whom and to whom.

use std::{fmt, time::Duration};

use sha2::{Digest, Sha256};

use crate::HostId;

/// Everything delivered so far, in one number. `Display` shows it as hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// SHA-256 over every delivery.
    pub hash: [u8; 32],
    /// Datagrams delivered.
    pub datagrams: u64,
    /// Bytes delivered in datagrams.
    pub datagram_bytes: u64,
    /// Bytes delivered in streams.
    pub stream_bytes: u64,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How bytes came.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Datagram,
    Stream,
    End,
}

/// Collects the trace.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    hash: Sha256,
    datagrams: u64,
    datagram_bytes: u64,
    stream_bytes: u64,
}

impl Recorder {
    pub(crate) fn delivered(&mut self, at: Duration, way: Way, from: HostId, to: HostId, bytes: &[u8]) {
        let len = bytes.len() as u64;
        let way = match way {
            Way::Datagram => {
                self.datagrams += 1;
                self.datagram_bytes += len;
                0
            }
            Way::Stream => {
                self.stream_bytes += len;
                1
            }
            Way::End => 2,
        };
        self.hash.update(at.as_nanos().to_be_bytes());
        self.hash.update([way]);
        self.hash.update(from.0.to_be_bytes());
        self.hash.update(to.0.to_be_bytes());
        self.hash.update(len.to_be_bytes());
        self.hash.update(bytes);
    }

    pub(crate) fn trace(&self) -> Trace {
        Trace {
            hash: self.hash.clone().finalize().into(),
            datagrams: self.datagrams,
            datagram_bytes: self.datagram_bytes,
            stream_bytes: self.stream_bytes,
        }
    }
}
