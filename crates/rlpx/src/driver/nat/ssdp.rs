//! The search for UPnP gateways: one question to the local network or to one address, and what answers it.
//! UPnP Device Architecture 1.1, section 1.3. An answer counts only when it names its own sender: the search is
//! unauthenticated, and must not be a way to have us fetch from elsewhere.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str,
};

use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};
use url::Url;

use super::{http::Target, local, now};
use crate::nat::{NatFault, OPERATION_TIMEOUT, SSDP_PORT};

/// The group that gateways of a local network listen to (UPnP Device Architecture 1.1, section 1.2.2).
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);

/// What is searched for: both versions, because a device of the second need not answer to the first.
const TARGETS: [&str; 2] = [
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
];

/// How often each question is sent: the network may lose it (section 1.3.2 asks for more than once).
const REPEATS: usize = 2;

/// Seconds that devices may let pass before they answer (section 1.3.2, from 1 on): [`OPERATION_TIMEOUT`] is waited.
const MAX_DEVICE_DELAY: u8 = 2;

/// The longest answer, in bytes: one datagram of an Ethernet.
const MAX_ANSWER_LEN: usize = 1_500;

/// Answers read in one search, good and bad: nobody may keep us busy with them.
const MAX_ANSWERS: usize = 64;

/// A question that was sent.
pub(super) struct Search {
    socket: UdpSocket,
    until: Option<Instant>,
    answers: usize,
}

impl Search {
    /// Asks the local network that the node listens to.
    pub(super) async fn of_all(listen: IpAddr) -> Result<Self, NatFault> {
        let group = SocketAddr::new(GROUP.into(), SSDP_PORT);
        let local = match listen {
            IpAddr::V4(ip) if !ip.is_unspecified() => ip.into(),
            IpAddr::V4(_) | IpAddr::V6(_) => local::toward(group).await?,
        };
        if local.is_loopback() {
            return Err(NatFault::NoGateway);
        }
        Self::send(local, group).await
    }

    /// Asks one address.
    pub(super) async fn of_one(address: SocketAddr) -> Result<Self, NatFault> {
        Self::send(local::any(address), address).await
    }

    async fn send(from: IpAddr, to: SocketAddr) -> Result<Self, NatFault> {
        let socket = UdpSocket::bind((from, 0)).await.map_err(|_| NatFault::Unreachable)?;
        for target in TARGETS.iter().cycle().take(TARGETS.len() * REPEATS) {
            let question = format!(
                "M-SEARCH * HTTP/1.1\r\nHOST: {to}\r\nMAN: \"ssdp:discover\"\r\nMX: {MAX_DEVICE_DELAY}\r\nST: {target}\r\n\r\n"
            );
            socket.send_to(question.as_bytes(), to).await.map_err(|_| NatFault::Unreachable)?;
        }
        let until = now().instant.checked_add(OPERATION_TIMEOUT).map(Instant::from_std);
        Ok(Self { socket, until, answers: 0 })
    }

    /// The next device that answers, or what was wrong with an answer; None when the time is over.
    pub(super) async fn next(&mut self) -> Option<Result<Target, NatFault>> {
        self.answers = self.answers.saturating_add(1);
        if self.answers > MAX_ANSWERS {
            return None;
        }
        let mut answer = [0; MAX_ANSWER_LEN];
        match timeout_at(self.until?, self.socket.recv_from(&mut answer)).await.ok()? {
            Ok((len, from)) => Some(location(answer.get(..len).unwrap_or_default(), from.ip())),
            Err(_) => Some(Err(NatFault::Unreachable)),
        }
    }
}

/// Where the description of the device that sent `answer` is.
fn location(answer: &[u8], from: IpAddr) -> Result<Target, NatFault> {
    let mut lines = str::from_utf8(answer).map_err(|_| NatFault::Malformed)?.lines();
    let status = lines.next().unwrap_or_default();
    if !(status.starts_with("HTTP/1.") && status.split(' ').nth(1) == Some("200")) {
        return Err(NatFault::Malformed);
    }
    let header = lines.filter_map(|line| line.split_once(':'));
    let mut location =
        header.filter(|(name, _)| name.trim().eq_ignore_ascii_case("location")).map(|(_, it)| it);
    let url = location.next().and_then(|text| Url::parse(text.trim()).ok()).ok_or(NatFault::Malformed)?;
    let target = Target::of(&url).ok_or(NatFault::ForeignHost)?;
    if target.address.ip() == from { Ok(target) } else { Err(NatFault::ForeignHost) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(answer: &str) -> Result<String, NatFault> {
        location(answer.as_bytes(), [192, 168, 1, 1].into()).map(|target| target.url())
    }

    #[test]
    fn an_answer_names_the_description_of_its_sender() {
        let answer = "HTTP/1.1 200 OK\r\nST: x\r\nLocation: http://192.168.1.1:5000/root.xml\r\n\r\n";
        assert_eq!(located(answer), Ok("http://192.168.1.1:5000/root.xml".to_owned()));
    }

    #[test]
    fn s13_an_answer_that_points_elsewhere_is_refused() {
        for url in
            ["http://192.168.1.2/", "http://example.org/", "https://192.168.1.1/", "ftp://192.168.1.1/"]
        {
            let answer = format!("HTTP/1.1 200 OK\r\nLOCATION: {url}\r\n\r\n");
            assert_eq!(located(&answer), Err(NatFault::ForeignHost), "{url}");
        }
    }

    #[test]
    fn s13_garbage_is_no_answer() {
        for answer in
            ["", "HTTP/1.1 404\r\nLOCATION: http://192.168.1.1/\r\n", "HTTP/1.1 200 OK\r\n\r\n", "NOTIFY"]
        {
            assert_eq!(located(answer), Err(NatFault::Malformed), "{answer}");
        }
        assert_eq!(location(&[0xff; 1_500], [192, 168, 1, 1].into()), Err(NatFault::Malformed));
    }
}
