//! How the program shows peers and what goes to and from them: a line a peer, a line a protocol. Numbers are rlpx's
//! (`status.rs`, `tally.rs`), and texts of peers are made fit for a terminal here.

use devp2p::rlpx::{PeerInfo, PeerStatus, ProtocolTraffic, Volume};

use crate::output::printable;

/// `peer <id> <address> in|out <client> rtt <ms> ...`.
pub(crate) fn peer_line(peer: &PeerInfo) -> String {
    let direction = if peer.inbound { "in" } else { "out" };
    format!(
        "peer {} {} {direction} {} {}",
        peer.node_id,
        peer.remote_addr,
        printable(&peer.client_name),
        status(&peer.status())
    )
}

fn status(status: &PeerStatus) -> String {
    let rtt = match status.rtt {
        Some(rtt) => format!("{:.1}±{:.1} ms", millis(rtt.smoothed), millis(rtt.variation)),
        None => "unknown".to_owned(),
    };
    let protocols = status.protocols.iter().map(|protocol| {
        let details = protocol.details.iter().map(|(name, text)| format!(" {name}={}", printable(text)));
        let details: String = details.collect();
        let (received, sent) = (volume(protocol.received), volume(protocol.sent));
        format!("; {}/{} received {received}, sent {sent}{details}", protocol.name, protocol.version)
    });
    let protocols: String = protocols.collect();
    format!("rtt {rtt}, received {} B, sent {} B{protocols}", status.bytes_in, status.bytes_out)
}

/// `traffic <protocol> <code> received <messages> <bytes>, sent ...` for each code that was used.
pub(crate) fn traffic_lines(protocols: &[ProtocolTraffic]) -> Vec<String> {
    let codes = protocols.iter().flat_map(|protocol| {
        let used = protocol.codes.iter().filter(|code| code.received.messages + code.sent.messages > 0);
        used.map(|code| {
            let (received, sent) = (volume(code.received), volume(code.sent));
            format!("traffic {} {:#04x} received {received}, sent {sent}", protocol.name, code.code)
        })
    });
    codes.collect()
}

fn volume(volume: Volume) -> String {
    format!("{} messages {} B", volume.messages, volume.bytes)
}

fn millis(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use devp2p::rlpx::{CapabilityName, CodeTraffic, ProtocolStatus, Rtt};

    use super::*;

    #[test]
    fn a_peers_line_tells_round_trips_and_volumes_and_no_text_of_a_peer_writes_to_the_terminal() {
        let millis = Duration::from_millis;
        let rtt = Rtt { latest: millis(50), smoothed: millis(42), variation: millis(3) };
        let eth = ProtocolStatus {
            name: CapabilityName::new("eth").unwrap(),
            version: 69,
            received: Volume { messages: 2, bytes: 300 },
            sent: Volume { messages: 1, bytes: 40 },
            details: vec![("latest", "7\u{1b}".to_owned())],
        };
        let mut shown = PeerStatus { rtt: Some(rtt), bytes_in: 900, bytes_out: 800, protocols: vec![eth] };
        assert_eq!(
            status(&shown),
            "rtt 42.0±3.0 ms, received 900 B, sent 800 B; eth/69 received 2 messages 300 B, sent 1 messages 40 B \
             latest=7\\u{1b}"
        );
        shown.rtt = None;
        shown.protocols.clear();
        assert_eq!(status(&shown), "rtt unknown, received 900 B, sent 800 B");
    }

    #[test]
    fn codes_that_were_not_used_take_no_line() {
        let used = Volume { messages: 3, bytes: 30 };
        let code = |code, sent| CodeTraffic { code, received: Volume::default(), sent };
        let name = CapabilityName::new("eth").unwrap();
        let traffic = ProtocolTraffic { name, codes: vec![code(0, Volume::default()), code(8, used)] };
        assert_eq!(
            traffic_lines(&[traffic]),
            ["traffic eth 0x08 received 0 messages 0 B, sent 3 messages 30 B"]
        );
    }
}
