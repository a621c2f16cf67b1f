//! A STUN server on loopback (RFC 8489), which answers what it is told to.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use rlpx::nat::{ADDRESS_INTERVAL, External, MAX_FAILURES, NatFault, RETRY_AFTER, RETRY_JITTER};
use tokio::{net::UdpSocket, task::AbortHandle, time::pause};

use crate::support::{PUBLIC, becomes, counted, pass, start, within};

/// The magic cookie (RFC 8489, section 5).
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

type Answer = Box<dyn Fn(&[u8]) -> Vec<u8> + Send>;

struct Server {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(Box::new(answer)));
        let held = Arc::clone(&answer);
        let serve = async move {
            let mut request = [0; 1_500];
            while let Ok((len, from)) = socket.recv_from(&mut request).await {
                let answer = held.lock().unwrap()(&request[..len]);
                let _gone = socket.send_to(&answer, from).await;
            }
        };
        #[expect(clippy::disallowed_methods, reason = "a responder is a task of its test")]
        let task = tokio::spawn(serve).abort_handle();
        Self { address, answer, task }
    }

    fn answers(&self, answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    fn method(&self) -> String {
        format!("stun:{}", self.address)
    }
}

/// An honest answer that says `ip`.
fn says(ip: Ipv4Addr) -> impl Fn(&[u8]) -> Vec<u8> + Send + 'static {
    move |request| {
        assert_eq!(request[..8], [[0, 1, 0, 0], COOKIE].concat());
        let mixed: Vec<u8> = ip.octets().iter().zip(COOKIE).map(|(octet, key)| octet ^ key).collect();
        // XOR-MAPPED-ADDRESS (section 14.2): IPv4, some port.
        let attribute = [&[0, 0x20, 0, 8, 0, 1, 0x12, 0x34], &mixed[..]].concat();
        [&[1, 1, 0, 12], &request[4..20], &attribute].concat()
    }
}

const fn seen(ip: Ipv4Addr) -> External {
    External { ip: Some(std::net::IpAddr::V4(ip)), tcp: None, udp: None }
}

#[tokio::test]
async fn a_server_tells_the_address_and_its_changes_and_no_ports() {
    let server = Server::start(says(PUBLIC)).await;
    let nat = start(&server.method());
    becomes(&nat, seen(PUBLIC)).await;
    let moved = Ipv4Addr::new(11, 22, 33, 45);
    server.answers(says(moved));
    pass(ADDRESS_INTERVAL).await;
    becomes(&nat, seen(moved)).await;
    within(nat.shutdown()).await;
}

#[tokio::test]
async fn s13_a_silent_server_is_given_up_after_five_searches() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    pause();
    let nat = start(&format!("stun:{}", silent.local_addr().unwrap()));
    assert_eq!(nat.changes().next().await, None);
    assert_eq!(nat.faults().count(NatFault::Silent), u64::from(MAX_FAILURES));
}

#[tokio::test]
async fn s13_garbage_and_answers_to_other_requests_are_malformed() {
    let server = Server::start(|_| vec![0xff; 1_500]).await;
    let nat = start(&server.method());
    counted(&nat, NatFault::Malformed, 1).await;
    server.answers(|request| {
        let mut answer = says(PUBLIC)(request);
        answer[19] ^= 1;
        answer
    });
    pass(RETRY_AFTER + RETRY_JITTER).await;
    counted(&nat, NatFault::Malformed, 2).await;
    assert_eq!(nat.external(), External::default());
    server.answers(says(PUBLIC));
    pass(RETRY_AFTER + RETRY_JITTER).await;
    becomes(&nat, seen(PUBLIC)).await;
}

#[tokio::test]
async fn s13_an_address_that_is_not_global_is_never_told() {
    let server = Server::start(says(Ipv4Addr::new(10, 0, 0, 1))).await;
    let nat = start(&server.method());
    counted(&nat, NatFault::AddressNotGlobal, 1).await;
    assert_eq!(nat.external(), External::default());
}
