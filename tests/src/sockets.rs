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
/// What waits to be sent or acknowledged, and what waits to be read: `00000000:00000000`.
const QUEUES: usize = 4;
const INODE: usize = 9;

/// How many IPv4 connections from or to TCP port `port` the process `pid` holds open.
///
/// # Errors
/// When there is no such process, or no Linux.
pub fn open_connections(pid: u32, port: u16) -> Result<usize> {
    let held = held_sockets(pid)?;
    let of_port = |connection: &Connection| connection.local == port || connection.remote == port;
    let connections = connections(pid)?;
    // A table that changes while it is read may tell of one twice.
    let found: BTreeSet<&str> =
        connections.iter().filter(|found| of_port(found)).map(|found| found.inode.as_str()).collect();
    Ok(found.into_iter().filter(|inode| held.contains(*inode)).count())
}

/// The most bytes that the system keeps to be sent, or until they are acknowledged, for an IPv4 connection from TCP port
/// `port` of the process `pid`; 0 when there is none.
///
/// # Errors
/// As [`open_connections`].
pub fn longest_send_queue(pid: u32, port: u16) -> Result<u64> {
    let connections = connections(pid)?;
    let queues = connections.iter().filter(|found| found.local == port).map(|found| found.unsent);
    Ok(queues.max().unwrap_or_default())
}

/// An IPv4 connection of the machine.
struct Connection {
    local: u16,
    remote: u16,
    unsent: u64,
    inode: String,
}

/// What the process `pid` sees of the table of connections.
fn connections(pid: u32) -> Result<Vec<Connection>> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp"))?;
    let mut connections = Vec::new();
    // The first line names the columns.
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let column = |place: usize| columns.get(place).copied().ok_or_else(|| unreadable(line));
        if column(STATE)? != LISTEN {
            let (queue, _) = column(QUEUES)?.split_once(':').ok_or_else(|| unreadable(line))?;
            connections.push(Connection {
                local: port_of(column(LOCAL)?)?,
                remote: port_of(column(REMOTE)?)?,
                unsent: u64::from_str_radix(queue, 16).map_err(|_| unreadable(line))?,
                inode: column(INODE)?.to_owned(),
            });
        }
    }
    Ok(connections)
}

fn unreadable(line: &str) -> Failure {
    Failure::new(format!("/proc/net/tcp: {line:?}"))
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
    u16::from_str_radix(digits, 16).map_err(|_| unreadable(address))
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        net::{Ipv4Addr, TcpListener, TcpStream},
    };

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
    #[test]
    fn what_a_peer_does_not_take_waits_in_the_queue_of_who_sends() {
        let own = std::process::id();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let dialer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        assert_eq!(longest_send_queue(own, port).unwrap(), 0);
        accepted.set_nonblocking(true).unwrap();
        let (mut written, piece) = (0, [0; 1 << 16]);
        while let Ok(len) = accepted.write(&piece) {
            written += len as u64;
        }
        let waiting = longest_send_queue(own, port).unwrap();
        assert!(waiting > 0 && waiting < written, "{waiting} of {written} bytes");
        drop(dialer);
    }
}
