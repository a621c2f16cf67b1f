//! The token of geth's engine API: a JSON Web Token (RFC 7519) signed with HMAC-SHA256 (RFC 7515, HS256).
//! Its one claim is the time of issue, which geth allows to be 60 s off.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The secret that the engine API and its client share: 32 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JwtSecret(pub(crate) [u8; 32]);

impl JwtSecret {
    /// The token for a request at `unix_seconds`.
    pub(crate) fn token(&self, unix_seconds: u64) -> String {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"iat":{unix_seconds}}}"#));
        let signed = format!("{header}.{claims}");
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_that_of_another_implementation() {
        // Python: base64url(hmac.new(bytes(range(32)), header + b"." + claims, sha256).digest())
        let secret = JwtSecret(std::array::from_fn(|index| index as u8));
        assert_eq!(secret.token(1_700_000_000), TOKEN);
    }

    const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3MDAwMDAwMDB9.uAxdaUtr1_HpYPtNDLNlQ_sHMiP5eBV-ra8EjL3ScS8";
}
