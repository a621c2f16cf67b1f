//! One HTTP POST to loopback: a request, the whole answer, the connection's end. RFC 9112, as an HTTP/1.0 client,
//! to which a server never answers in chunks; no HTTP library is worth its dependencies for that.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::{Failure, Result};

/// For the connection, and for each read and write.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer: a block with all its transactions is far below.
const MAX_ANSWER_LEN: u64 = 64 << 20;

/// Posts a JSON `body` with more `headers` (whole lines with their CR LF) and returns the body of the answer.
pub(crate) fn post(address: SocketAddr, headers: &str, body: &str) -> Result<String> {
    let answer = exchange(address, headers, body).map_err(|error| Failure::from(error).during(address))?;
    let (head, content) =
        answer.split_once("\r\n\r\n").ok_or_else(|| Failure::new(format!("{address}: no HTTP answer")))?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") {
        Ok(content.to_owned())
    } else {
        Err(Failure::new(format!("{address}: {status}: {}", content.trim())))
    }
}

fn exchange(address: SocketAddr, headers: &str, body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let ip = address.ip();
    let request = format!(
        "POST / HTTP/1.0\r\nHost: {ip}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER_LEN).read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    fn answered_with(answer: &'static str) -> Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut request = [0; 1024];
            let mut len = 0;
            while !request[..len].ends_with(b"{}") {
                len += stream.read(&mut request[len..]).unwrap();
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request[..len].to_vec()).unwrap()
        });
        let result = post(address, "X-Test: 1\r\n", "{}");
        let request = server.join().unwrap();
        assert!(request.starts_with("POST / HTTP/1.0\r\n"), "{request}");
        assert!(request.contains("Content-Length: 2\r\nX-Test: 1\r\n\r\n{}"), "{request}");
        result
    }

    #[test]
    fn the_body_of_a_good_answer_is_returned() {
        assert_eq!(answered_with("HTTP/1.0 200 OK\r\nA: b\r\n\r\n{\"x\":1}").unwrap(), "{\"x\":1}");
    }

    #[test]
    fn a_bad_status_is_a_failure_with_the_servers_words() {
        let failure = answered_with("HTTP/1.0 401 Unauthorized\r\n\r\nmissing token\n").unwrap_err();
        assert!(failure.to_string().ends_with(": HTTP/1.0 401 Unauthorized: missing token"), "{failure}");
        assert!(answered_with("nonsense").is_err());
    }
}
