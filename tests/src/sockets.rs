//! The TCP connections that a process holds open, as Linux tells it: `/proc/PID/net/tcp` says what sockets are there,
//! `/proc/PID/fd` which of them are the process's. A connection that only the system still knows (TIME_WAIT) is not one.

use std::{collections::BTreeSet, fs};

use crate::{Failure, Result};

/// The state of a socket that listens (Linux `include/net/tcp_states.h`).
const LISTEN: &str = "0A";
/// Columns of a line of the table.
const LOCAL: usize = 1;
const REMOTE: usize = 2;
const STATE: usize = 3;
const INODE: usize = 9;

/// How many IPv4 connections from or to TCP port `port` the process `pid` holds open.
///
/// # Errors
/// When there is no such process, or no Linux.
pub fn open_connections(pid: u32, port: u16) -> Result<usize> {
    let held = held_sockets(pid)?;
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp"))?;
    // The first line names the columns.
    let lines = table.lines().skip(1).map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let mut count = 0;
    for line in lines {
        let column = |place: usize| {
            line.get(place).copied().ok_or_else(|| Failure::new(format!("/proc/net/tcp: {line:?}")))
        };
        let ours = port_of(column(LOCAL)?)? == port || port_of(column(REMOTE)?)? == port;
        if ours && column(STATE)? != LISTEN && held.contains(column(INODE)?) {
            count += 1;
        }
    }
    Ok(count)
}

/// How many sockets of any kind the process `pid` holds open.
///
/// # Errors
/// As [`open_connections`].
pub fn open_sockets(pid: u32) -> Result<usize> {
    Ok(held_sockets(pid)?.len())
}

/// The inodes of the sockets that the process holds.
fn held_sockets(pid: u32) -> Result<BTreeSet<String>> {
    let mut inodes = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // One that was closed meanwhile has no target any more.
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        let target = target.to_string_lossy();
        if let Some(inode) = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) {
            inodes.insert(inode.to_owned());
        }
    }
    Ok(inodes)
}

/// The port of `0100007F:7A69`.
fn port_of(address: &str) -> Result<u16> {
    let digits = address.rsplit(':').next().unwrap_or_default();
    u16::from_str_radix(digits, 16).map_err(|_| Failure::new(format!("/proc/net/tcp: {address:?}")))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn both_ends_of_a_connection_count_until_they_are_closed_and_a_listener_does_not() {
        let own = std::process::id();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(open_connections(own, port).unwrap(), 0);
        let dialer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(open_connections(own, port).unwrap(), 2);
        assert!(open_sockets(own).unwrap() >= 3);
        drop(dialer);
        assert_eq!(open_connections(own, port).unwrap(), 1);
        drop(accepted);
        assert_eq!(open_connections(own, port).unwrap(), 0);
    }
}
