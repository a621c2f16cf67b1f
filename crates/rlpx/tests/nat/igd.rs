//! An Internet Gateway Device on loopback: a description, and SOAP behind it. It maps nothing and says that it did.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use rlpx::nat::{
    ADDRESS_INTERVAL, External, FIRST_ALTERNATIVE_PORT, MAPPING_LEASE, MAX_FAILURES, MAX_REPLY_LEN, NatFault,
    OPERATION_TIMEOUT, RENEW_AFTER, RETRY_AFTER, RETRY_JITTER,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, pause},
};

use crate::support::{PUBLIC, Seen, TCP, UDP, becomes, counted, external, pass, start, within};

const SERVICE: &str = "urn:schemas-upnp-org:service:WANIPConnection:1";

/// What the device was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Description,
    Address,
    Add { protocol: String, external: u16, internal: u16, client: String, lease: u64 },
    Delete { protocol: String, external: u16 },
}

/// What the device says.
#[derive(Clone)]
struct Mood {
    ip: String,
    /// Ports of somebody else.
    taken: Vec<u16>,
    /// Error of every mapping.
    refuses: Option<u16>,
    permanent_only: bool,
    /// Said instead of everything, as it stands; then the connection stays open.
    says: Option<Vec<u8>>,
}

struct Igd {
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    seen: Seen<Asked>,
    task: AbortHandle,
}

impl Drop for Igd {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Igd {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let ip = PUBLIC.to_string();
        let mood = Mood { ip, taken: vec![], refuses: None, permanent_only: false, says: None };
        let mood = Arc::new(Mutex::new(mood));
        let (sender, seen) = Seen::new();
        let task = spawn(serve(listener, Arc::clone(&mood), sender));
        Self { address, mood, seen, task }
    }

    fn method(&self) -> String {
        format!("upnp:http://{}/root.xml", self.address)
    }

    fn change(&self, change: impl FnOnce(&mut Mood)) {
        change(&mut self.mood.lock().unwrap());
    }

    async fn saw(&mut self, wanted: &Asked) {
        loop {
            let asked = self.seen.next().await;
            if asked == *wanted {
                return;
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a responder is a task of its test")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    tokio::spawn(task).abort_handle()
}

async fn serve(listener: TcpListener, mood: Arc<Mutex<Mood>>, seen: mpsc::Sender<Asked>) {
    // Kept, so that whoever waits for more is not told of an end.
    let mut silent = Vec::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let Some(request) = read(&mut stream).await else { continue };
        let asked = asked(&request);
        let mood = mood.lock().unwrap().clone();
        let answer = mood.says.clone().unwrap_or_else(|| answer(&asked, &mood));
        let _gone = stream.write_all(&answer).await;
        let _full = seen.try_send(asked);
        if mood.says.is_some() {
            silent.push(stream);
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some(text.into_owned());
        }
    }
}

fn asked(request: &str) -> Asked {
    let field = |name: &str| {
        let (_, after) = request.split_once(&format!("<{name}>"))?;
        after.split_once('<').map(|(value, _)| value.to_owned())
    };
    let number = |name: &str| field(name).and_then(|value| value.parse().ok()).unwrap_or_default();
    let text = |name: &str| field(name).unwrap_or_default();
    if request.starts_with("GET") {
        Asked::Description
    } else if request.contains("#GetExternalIPAddress\"") {
        Asked::Address
    } else if request.contains("#AddPortMapping\"") {
        Asked::Add {
            protocol: text("NewProtocol"),
            external: number("NewExternalPort"),
            internal: number("NewInternalPort"),
            client: text("NewInternalClient"),
            lease: text("NewLeaseDuration").parse().unwrap(),
        }
    } else {
        Asked::Delete { protocol: text("NewProtocol"), external: number("NewExternalPort") }
    }
}

fn answer(asked: &Asked, mood: &Mood) -> Vec<u8> {
    match asked {
        Asked::Description => ok(&format!(
            "<?xml version=\"1.0\"?><root><device><deviceList><device><serviceList><service>\
             <serviceType>{SERVICE}</serviceType><controlURL>/control</controlURL>\
             </service></serviceList></device></deviceList></device></root>"
        )),
        Asked::Address => ok(&soap(
            "GetExternalIPAddress",
            &format!("<NewExternalIPAddress>{}</NewExternalIPAddress>", mood.ip),
        )),
        Asked::Add { external, .. } if mood.taken.contains(external) => fault(718),
        Asked::Add { lease, .. } if mood.permanent_only && *lease != 0 => fault(725),
        Asked::Add { .. } => mood.refuses.map_or_else(|| ok(&soap("AddPortMapping", "")), fault),
        Asked::Delete { .. } => ok(&soap("DeletePortMapping", "")),
    }
}

fn soap(action: &str, inside: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>\
         <u:{action}Response xmlns:u=\"{SERVICE}\">{inside}</u:{action}Response></s:Body></s:Envelope>"
    )
}

fn http(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn ok(body: &str) -> Vec<u8> {
    http("200 OK", body)
}

fn fault(code: u16) -> Vec<u8> {
    let body = format!(
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><s:Fault><detail><UPnPError>\
         <errorCode>{code}</errorCode><errorDescription>no</errorDescription>\
         </UPnPError></detail></s:Fault></s:Body></s:Envelope>"
    );
    http("500 Internal Server Error", &body)
}

fn add(protocol: &str, external: u16) -> Asked {
    let internal = if protocol == "TCP" { TCP } else { UDP };
    let client = Ipv4Addr::LOCALHOST.to_string();
    Asked::Add { protocol: protocol.to_owned(), external, internal, client, lease: MAPPING_LEASE.as_secs() }
}

fn delete(protocol: &str, external: u16) -> Asked {
    Asked::Delete { protocol: protocol.to_owned(), external }
}

#[tokio::test]
async fn a_described_gateway_maps_both_ports_and_tells_the_address() {
    let mut igd = Igd::start().await;
    let nat = start(&igd.method());
    becomes(&nat, external(PUBLIC, TCP, UDP)).await;
    let mut asked = igd.seen.rest();
    asked[2..].sort_by_key(|asked| asked != &add("TCP", TCP));
    assert_eq!(asked, [Asked::Description, Asked::Address, add("TCP", TCP), add("UDP", UDP)]);
}

#[tokio::test]
async fn mappings_are_renewed_after_eight_minutes() {
    let mut igd = Igd::start().await;
    let nat = start(&igd.method());
    becomes(&nat, external(PUBLIC, TCP, UDP)).await;
    igd.seen.rest();
    for _ in 0..2 {
        pass(RENEW_AFTER).await;
        let mut renewed = [igd.seen.next().await, igd.seen.next().await, igd.seen.next().await];
        renewed.sort_by_key(|asked| (asked != &add("TCP", TCP), asked != &add("UDP", UDP)));
        assert_eq!(renewed, [add("TCP", TCP), add("UDP", UDP), Asked::Address]);
        settle().await;
    }
    assert_eq!(nat.external(), external(PUBLIC, TCP, UDP));
}

/// Lets answers that were written be read, before time is moved.
async fn settle() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_taken_port_is_replaced_by_another_which_is_told() {
    let mut igd = Igd::start().await;
    igd.change(|mood| mood.taken = vec![TCP]);
    let nat = start(&igd.method());
    let told = within(async {
        let mut changes = nat.changes();
        loop {
            if let External { ip: Some(_), tcp: Some(tcp), udp: Some(UDP) } = nat.external() {
                return tcp;
            }
            changes.next().await.unwrap();
        }
    })
    .await;
    assert!(told != TCP && told >= FIRST_ALTERNATIVE_PORT);
    assert_eq!(nat.faults().count(NatFault::PortTaken), 1);
    igd.saw(&add("TCP", told)).await;
    nat.shutdown().await;
    igd.saw(&delete("TCP", told)).await;
}

#[tokio::test]
async fn a_changed_external_address_is_followed() {
    let igd = Igd::start().await;
    let nat = start(&igd.method());
    becomes(&nat, external(PUBLIC, TCP, UDP)).await;
    let moved = Ipv4Addr::new(11, 22, 33, 45);
    igd.change(|mood| mood.ip = moved.to_string());
    pass(ADDRESS_INTERVAL).await;
    becomes(&nat, external(moved, TCP, UDP)).await;
}

#[tokio::test]
async fn mappings_are_removed_at_shutdown_and_when_the_last_handle_is_gone() {
    for by_shutdown in [true, false] {
        let mut igd = Igd::start().await;
        let nat = start(&igd.method());
        becomes(&nat, external(PUBLIC, TCP, UDP)).await;
        igd.seen.rest();
        if by_shutdown {
            within(nat.shutdown()).await;
        } else {
            drop(nat);
        }
        let mut removed = [igd.seen.next().await, igd.seen.next().await];
        removed.sort_by_key(|asked| asked != &delete("TCP", TCP));
        assert_eq!(removed, [delete("TCP", TCP), delete("UDP", UDP)]);
    }
}

#[tokio::test]
async fn a_gateway_that_maps_for_ever_only_is_asked_so() {
    let mut igd = Igd::start().await;
    igd.change(|mood| mood.permanent_only = true);
    let nat = start(&igd.method());
    becomes(&nat, external(PUBLIC, TCP, UDP)).await;
    let asked = igd.seen.rest();
    assert!(
        asked.iter().any(|asked| matches!(asked, Asked::Add { external: TCP, lease: 0, .. })),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_gateway_that_refuses_is_asked_again_after_five_minutes() {
    let igd = Igd::start().await;
    igd.change(|mood| mood.refuses = Some(606));
    let nat = start(&igd.method());
    counted(&nat, NatFault::Refused, 2).await;
    assert_eq!(nat.external(), External { ip: Some(PUBLIC.into()), ..External::default() });
    igd.change(|mood| mood.refuses = None);
    pass(RETRY_AFTER + RETRY_JITTER).await;
    becomes(&nat, external(PUBLIC, TCP, UDP)).await;
}

/// Answers searches with `locations`.
async fn searchable(locations: Vec<String>) -> (SocketAddr, AbortHandle) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let answer = async move {
        let mut question = [0; 1_500];
        while let Ok((len, from)) = socket.recv_from(&mut question).await {
            assert!(question[..len].starts_with(b"M-SEARCH * HTTP/1.1\r\n"));
            for location in &locations {
                let answer = format!("HTTP/1.1 200 OK\r\nEXT:\r\nLOCATION: {location}\r\n\r\n");
                socket.send_to(answer.as_bytes(), from).await.unwrap();
            }
        }
    };
    (address, spawn(answer))
}

#[tokio::test]
async fn a_gateway_is_found_by_a_search_at_its_address() {
    let mut igd = Igd::start().await;
    let (address, task) = searchable(vec![format!("http://{}/root.xml", igd.address)]).await;
    let nat = start(&format!("upnp:{address}"));
    becomes(&nat, external(PUBLIC, TCP, UDP)).await;
    let descriptions = igd.seen.rest().iter().filter(|asked| **asked == Asked::Description).count();
    assert_eq!(descriptions, 1, "repeated answers are one device");
    task.abort();
}

#[tokio::test]
async fn s13_a_false_answer_to_a_search_hides_no_true_one() {
    let igd = Igd::start().await;
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let locations = vec![
        "http://10.0.0.1/root.xml".to_owned(),
        "http://example.org/".to_owned(),
        "nonsense".to_owned(),
        format!("http://{}/", silent.local_addr().unwrap()),
        format!("http://{}/root.xml", igd.address),
    ];
    let (address, task) = searchable(locations).await;
    let nat = start(&format!("upnp:{address}"));
    becomes(&nat, external(PUBLIC, TCP, UDP)).await;
    assert!(nat.faults().count(NatFault::ForeignHost) >= 2);
    task.abort();
}

#[tokio::test]
async fn s13_a_silent_gateway_costs_three_seconds_five_times() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    pause();
    let begin = now();
    let nat = start(&format!("upnp:http://{}/", silent.local_addr().unwrap()));
    assert_eq!(nat.changes().next().await, None, "it gives up");
    assert_eq!(nat.faults().count(NatFault::Silent), u64::from(MAX_FAILURES));
    let waits = (RETRY_AFTER + RETRY_JITTER) * (MAX_FAILURES - 1);
    let taken = now().duration_since(begin);
    // A timer of the runtime rings up to a millisecond late.
    assert!(taken <= waits + (OPERATION_TIMEOUT + Duration::from_millis(10)) * MAX_FAILURES, "{taken:?}");
}

#[expect(clippy::disallowed_methods, reason = "a test measures")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn s13_a_gateway_that_falls_silent_does_not_hold_up_the_shutdown() {
    let mut igd = Igd::start().await;
    let nat = start(&igd.method());
    becomes(&nat, external(PUBLIC, TCP, UDP)).await;
    igd.seen.rest();
    igd.change(|mood| mood.says = Some(vec![]));
    let begin = now();
    within(nat.shutdown()).await;
    assert!(now().duration_since(begin) < OPERATION_TIMEOUT + Duration::from_secs(1));
}

#[tokio::test]
async fn s13_hostile_answers_do_no_harm_and_an_honest_one_later_counts() {
    let long = "x".repeat(2 * MAX_REPLY_LEN);
    let deep = "<a>".repeat(MAX_REPLY_LEN / 3 - 100);
    let bomb = "<!DOCTYPE r [<!ENTITY a \"aaaaaaaaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]><r>&b;</r>";
    let cases = [
        (ok(&long), NatFault::TooLarge),
        // Declared length is not believed, and neither is a lack of one.
        (b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n".to_vec(), NatFault::Malformed),
        (
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}", long.len()).into(),
            NatFault::TooLarge,
        ),
        (format!("HTTP/1.1 200 OK\r\nX: {long}\r\n\r\n").into(), NatFault::Malformed),
        (
            "HTTP/1.1 200 OK\r\n"
                .to_owned()
                .into_bytes()
                .into_iter()
                .chain("A: b\r\n".repeat(500).into_bytes())
                .chain(*b"\r\n")
                .collect(),
            NatFault::Malformed,
        ),
        (vec![0xff; 4_096], NatFault::Malformed),
        (ok(&deep), NatFault::Malformed),
        (ok(bomb), NatFault::Malformed),
        (ok("<root/>"), NatFault::Malformed),
        (http("302 Found\r\nLocation: http://10.0.0.1/", ""), NatFault::Malformed),
        (fault(501), NatFault::Malformed),
    ];
    for (says, fault) in cases {
        let igd = Igd::start().await;
        let name = String::from_utf8_lossy(&says[..says.len().min(80)]).into_owned();
        igd.change(|mood| mood.says = Some(says));
        let nat = start(&igd.method());
        within(async {
            while nat.faults().count(fault) == 0 {
                tokio::task::yield_now().await;
                let others =
                    [NatFault::TooLarge, NatFault::Malformed, NatFault::Unreachable, NatFault::Silent];
                let other =
                    others.into_iter().find(|other| *other != fault && nat.faults().count(*other) > 0);
                assert_eq!(other, None, "{name}");
            }
        })
        .await;
        assert_eq!(nat.external(), External::default(), "{name}");
        igd.change(|mood| mood.says = None);
        pass(RETRY_AFTER + RETRY_JITTER).await;
        becomes(&nat, external(PUBLIC, TCP, UDP)).await;
    }
}

#[tokio::test]
async fn s13_soap_that_is_no_answer_maps_nothing() {
    for says in
        [ok("not xml"), ok(&soap("Other", "")), ok(&"<a>".repeat(20_000)), fault(0), http("200 OK", "")]
    {
        let mut igd = Igd::start().await;
        let nat = start(&igd.method());
        becomes(&nat, external(PUBLIC, TCP, UDP)).await;
        igd.seen.rest();
        igd.change(|mood| mood.says = Some(says));
        pass(ADDRESS_INTERVAL).await;
        assert_eq!(igd.seen.next().await, Asked::Address);
        let failed = || nat.faults().count(NatFault::Malformed) + nat.faults().count(NatFault::Refused);
        within(async {
            while failed() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(nat.external(), external(PUBLIC, TCP, UDP), "what was known stands");
    }
}

#[tokio::test]
async fn s13_an_external_address_that_is_not_global_is_never_told() {
    for ip in ["10.0.0.1", "127.0.0.1", "0.0.0.0", "224.0.0.1", "::1"] {
        let igd = Igd::start().await;
        igd.change(|mood| mood.ip = ip.to_owned());
        let nat = start(&igd.method());
        becomes(&nat, External { ip: None, tcp: Some(TCP), udp: Some(UDP) }).await;
        assert_eq!(nat.faults().count(NatFault::AddressNotGlobal), 1, "{ip}");
        igd.change(|mood| mood.ip = IpAddr::V4(PUBLIC).to_string());
        pass(ADDRESS_INTERVAL).await;
        becomes(&nat, external(PUBLIC, TCP, UDP)).await;
    }
}
