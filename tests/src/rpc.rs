//! JSON-RPC 2.0 over HTTP, and the hex forms that Ethereum nodes speak in it ("execution-apis", quantities and data).

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::{Failure, Result, http, jwt::JwtSecret, wait};

/// A JSON-RPC server on loopback.
#[derive(Clone, Debug)]
pub struct Rpc {
    address: SocketAddr,
    secret: Option<JwtSecret>,
}

impl Rpc {
    /// The server at `address`, called without a token.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, secret: None }
    }

    /// The server at `address`, called with a token of `secret`.
    pub(crate) fn with_secret(address: SocketAddr, secret: JwtSecret) -> Self {
        Self { address, secret: Some(secret) }
    }

    /// Where the server listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls `method` with the array `params`; the result may be null.
    ///
    /// # Errors
    /// When the server is not there, or answers with an error: its words, with the method in front.
    pub fn call(&self, method: &str, params: &Value) -> Result<Value> {
        self.exchange(method, params).map_err(|failure| failure.during(method))
    }

    fn exchange(&self, method: &str, params: &Value) -> Result<Value> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let authorization = self.secret.map(|secret| {
            let token = secret.token(wait::now().unix_seconds());
            format!("Authorization: Bearer {token}\r\n")
        });
        let answer = http::post(self.address, &authorization.unwrap_or_default(), &request.to_string())?;
        let mut answer: Value = serde_json::from_str(&answer)
            .map_err(|error| Failure::new(format!("no JSON answer: {error}")))?;
        match answer.get("error") {
            Some(error) => Err(Failure::new(error["message"].as_str().unwrap_or("an error without words"))),
            None => Ok(answer["result"].take()),
        }
    }
}

/// The bytes that a text of hex digits with `0x` stands for.
pub(crate) fn bytes(text: &str) -> Result<Vec<u8>> {
    let digits = text.strip_prefix("0x").ok_or_else(|| unexpected("bytes", text))?;
    hex::decode(digits).map_err(|_| unexpected("bytes", text))
}

/// `bytes` as hex digits with `0x`.
pub(crate) fn data(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// The text at `name` in an object.
pub(crate) fn text<'a>(object: &'a Value, name: &str) -> Result<&'a str> {
    object[name].as_str().ok_or_else(|| unexpected(name, object))
}

/// The hash at `name` in an object.
pub(crate) fn hash(object: &Value, name: &str) -> Result<[u8; 32]> {
    bytes(text(object, name)?)?.try_into().map_err(|_| unexpected(name, object))
}

/// The integer at `name` in an object, a text of hex digits with `0x`.
pub(crate) fn quantity(object: &Value, name: &str) -> Result<u64> {
    let digits = text(object, name)?.strip_prefix("0x").unwrap_or_default();
    u64::from_str_radix(digits, 16).map_err(|_| unexpected(name, object))
}

/// The failure of an answer that has not the form it should have.
pub(crate) fn unexpected(what: &str, found: impl std::fmt::Display) -> Failure {
    let found: String = found.to_string().chars().take(200).collect();
    Failure::new(format!("{what}: unexpected answer {found}"))
}
