//! One HTTP request to a gateway on a connection of its own: bounded in time and in size, to an address and never to a
//! name, without redirects. The SOAP inside is `igd_next`'s, which asks through [`Capped`] here because its own client
//! takes sixteen times as much and waits three times as long.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use igd_next::{RequestError, aio::Provider};
use tokio::{net::TcpStream, time::timeout};
use url::{Host, Url};

use crate::nat::{MAX_REPLY_LEN, NatFault, OPERATION_TIMEOUT};

/// Header lines that are taken; real gateways send about ten.
const MAX_HEADERS: usize = 64;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    /// With the query, from `/` on.
    pub(super) path: String,
}

impl Target {
    /// The target of a URL whose host is an address.
    pub(super) fn of(url: &Url) -> Option<Self> {
        let ip = match url.host()? {
            Host::Ipv4(ip) => IpAddr::V4(ip),
            Host::Ipv6(ip) => IpAddr::V6(ip),
            Host::Domain(_) => return None,
        };
        let port = url.port_or_known_default().filter(|port| *port != 0)?;
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        (url.scheme() == "http").then(|| Self { address: SocketAddr::new(ip, port), path })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}{}", self.address, self.path)
    }
}

/// Fetches a document. Anything but 200 is malformed: there is no other place to look at.
pub(super) async fn get(target: &Target) -> Result<String, NatFault> {
    let request = Request::get(&target.path).header(header::HOST, target.address.to_string());
    let (status, text) = exchange(target.address, request, Bytes::new()).await?;
    if status == StatusCode::OK { Ok(text) } else { Err(NatFault::Malformed) }
}

/// How `igd_next` asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capped;

impl Provider for Capped {
    /// A fault of SOAP comes with status 500 and is read like any answer.
    async fn send_async(url: &str, action: &str, body: &str) -> Result<String, RequestError> {
        let target = Url::parse(url).ok().and_then(|url| Target::of(&url));
        let target = target.ok_or_else(|| RequestError::InvalidResponse(url.to_owned()))?;
        let request = Request::post(&target.path)
            .header(header::HOST, target.address.to_string())
            .header(header::CONTENT_TYPE, "text/xml; charset=\"utf-8\"")
            .header("SOAPAction", action);
        let answer = exchange(target.address, request, Bytes::copy_from_slice(body.as_bytes())).await;
        answer.map(|(_, text)| text).map_err(|fault| RequestError::IoError(io_error(fault)))
    }
}

/// What was wrong with an answer of [`Capped`], or with what `igd_next` made of it.
pub(super) fn fault(error: &RequestError) -> NatFault {
    match error {
        RequestError::IoError(error) if error.kind() == io::ErrorKind::TimedOut => NatFault::Silent,
        RequestError::IoError(error) if error.kind() == io::ErrorKind::FileTooLarge => NatFault::TooLarge,
        RequestError::IoError(error) if error.kind() == io::ErrorKind::InvalidData => NatFault::Malformed,
        RequestError::ErrorCode(..) | RequestError::UnsupportedAction(_) => NatFault::Refused,
        RequestError::InvalidResponse(_) | RequestError::Utf8Error(_) | RequestError::HttpError(_) => {
            NatFault::Malformed
        }
        RequestError::IoError(_) | RequestError::HyperError(_) | RequestError::HyperClientError(_) => {
            NatFault::Unreachable
        }
    }
}

/// The error that [`fault`] reads back: the only way through `igd_next`.
fn io_error(fault: NatFault) -> io::Error {
    io::Error::from(match fault {
        NatFault::Silent => io::ErrorKind::TimedOut,
        NatFault::TooLarge => io::ErrorKind::FileTooLarge,
        NatFault::Malformed => io::ErrorKind::InvalidData,
        NatFault::Unreachable
        | NatFault::NoGateway
        | NatFault::ForeignHost
        | NatFault::Refused
        | NatFault::PortTaken
        | NatFault::EmptyGrant
        | NatFault::AddressNotGlobal => io::ErrorKind::ConnectionAborted,
    })
}

async fn exchange(
    address: SocketAddr,
    request: hyper::http::request::Builder,
    body: Bytes,
) -> Result<(StatusCode, String), NatFault> {
    let request = request.header(header::CONNECTION, "close").body(Full::new(body));
    let request = request.map_err(|_| NatFault::Malformed)?;
    timeout(OPERATION_TIMEOUT, send(address, request)).await.unwrap_or(Err(NatFault::Silent))
}

async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<(StatusCode, String), NatFault> {
    let stream = TcpStream::connect(address).await.map_err(|_| NatFault::Unreachable)?;
    let mut client = http1::Builder::new();
    client.max_buf_size(MAX_REPLY_LEN).max_headers(MAX_HEADERS);
    let (mut sender, connection) =
        client.handshake(TokioIo::new(stream)).await.map_err(|error| hyper_fault(&error))?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(|error| hyper_fault(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_REPLY_LEN).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { NatFault::TooLarge } else { NatFault::Malformed }
        })?;
        let text = String::from_utf8(body.to_bytes().into()).map_err(|_| NatFault::Malformed)?;
        // SOAP 1.1 forbids document types (section 3), and entities are how a short text becomes a long one.
        if text.contains("<!DOCTYPE") { Err(NatFault::Malformed) } else { Ok((status, text)) }
    };
    tokio::pin!(answer, connection);
    let mut is_open = true;
    loop {
        tokio::select! {
            answer = &mut answer => return answer,
            // Its end is told to whoever waits for the answer.
            _ = &mut connection, if is_open => is_open = false,
        }
    }
}

fn hyper_fault(error: &hyper::Error) -> NatFault {
    // Headers that are too long are told apart from wrong ones in hyper's servers alone.
    if error.is_parse() || error.is_incomplete_message() {
        NatFault::Malformed
    } else {
        NatFault::Unreachable
    }
}
