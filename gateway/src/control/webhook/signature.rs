//! The signature of a webhook's message: HMAC-SHA256 over the time, a dot, and the body, in hexadecimal digits.
//!
//! The time is signed along, so that a receiver may refuse what is old, and nobody can send an old message again under a new
//! time.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};

/// `v1=` and the signature. `v1` names the way of signing, so that another one can come beside it.
pub(super) fn signature(secret: &str, timestamp: u64, body: &[u8]) -> String {
    let signed = [timestamp.to_string().as_bytes(), b".", body].concat();
    let key = EncodingKey::from_secret(secret.as_bytes());
    let hmac = crypto::sign(&signed, &key, Algorithm::HS256)
        .expect("an HMAC takes a key and a message of any length");
    let hmac = URL_SAFE_NO_PAD.decode(hmac).expect("it was encoded so");
    format!("v1={}", hex::encode(hmac))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_what_openssl_makes_of_it() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac s3cret
        let openssl = "1698a50bc74d1ff1db85c4e0a5297c2ad9fdba245d5737cdb789e4cc6e098940";
        assert_eq!(signature("s3cret", 1_700_000_000, b"{\"a\":1}"), format!("v1={openssl}"));
    }
}
