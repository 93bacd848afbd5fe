//! The auth service's public keys, and the local check of a token against them.
//!
//! A key set comes from the network, so it is believed only as far as it goes: bounded in size and number, symmetric keys
//! dropped, and a set without one usable key changes nothing: the last good one stays. Each key keeps *its* algorithm; a
//! token that names another is refused, whatever its signature says.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use jsonwebtoken::{
    DecodingKey, Validation, decode, decode_header,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse},
};
use serde::Deserialize;

use super::Verdict;
use crate::{
    config::config::{Algorithm, Authentication},
    limits::JWKS_KEYS_MAX,
};

/// The keys that are believed now, shared by all workers.
#[derive(Debug)]
pub struct Keys {
    current: ArcSwapOption<KeySet>,
    issuer: String,
    audience: String,
    algorithms: Vec<Algorithm>,
    stale_max: Duration,
}

#[derive(Debug)]
struct KeySet {
    keys: Vec<Key>,
    fetched: Instant,
}

struct Key {
    id: Option<String>,
    algorithm: jsonwebtoken::Algorithm,
    key: DecodingKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

impl Keys {
    /// No keys yet.
    pub fn new(settings: &Authentication) -> Arc<Self> {
        Arc::new(Self {
            current: ArcSwapOption::empty(),
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            algorithms: settings.algorithms.clone(),
            stale_max: settings.jwks_stale_max,
        })
    }

    /// Takes over a key set as it was published. One without a usable key is refused, and the last good one stays.
    ///
    /// # Errors
    /// What is wrong with the set.
    pub fn replace(&self, json: &[u8], now: Instant) -> Result<usize, &'static str> {
        let set: JwkSet =
            serde_json::from_slice(json).map_err(|_| "it is not a JSON Web Key Set")?;
        let keys: Vec<_> =
            set.keys.iter().take(JWKS_KEYS_MAX).filter_map(|jwk| self.usable(jwk)).collect();
        if keys.is_empty() {
            return Err("it has no key that is configured to be used");
        }
        let count = keys.len();
        self.current.store(Some(Arc::new(KeySet { keys, fetched: now })));
        Ok(count)
    }

    fn usable(&self, jwk: &Jwk) -> Option<Key> {
        if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return None;
        }
        let algorithm = match jwk.common.key_algorithm {
            Some(named) => named.to_string().parse().ok()?,
            None => natural_algorithm(jwk)?,
        };
        if !self.algorithms.iter().any(|allowed| to_jsonwebtoken(*allowed) == algorithm)
            || !fits(jwk, algorithm)
        {
            return None;
        }
        Some(Key {
            id: jwk.common.key_id.clone(),
            algorithm,
            key: DecodingKey::from_jwk(jwk).ok()?,
        })
    }

    /// Checks a token. Without keys that are fresh enough nobody can say.
    pub fn check(&self, token: &str, now: Instant) -> Verdict {
        let current = self.current.load();
        let Some(set) =
            current.as_ref().filter(|set| now.duration_since(set.fetched) < self.stale_max)
        else {
            return Verdict::Unavailable;
        };
        let Ok(header) = decode_header(token) else { return Verdict::Refused };
        let named = set.keys.iter().find(|key| key.algorithm == header.alg && key.id == header.kid);
        let Some(key) = named else { return Verdict::Refused };
        let mut rules = Validation::new(key.algorithm);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        rules.set_issuer(&[&self.issuer]);
        rules.set_audience(&[&self.audience]);
        rules.validate_nbf = true;
        // The clocks of one fleet agree within seconds; more only stretches a token's life.
        rules.leeway = 5;
        match decode::<Claims>(token, &key.key, &rules) {
            Ok(token) if !token.claims.sub.is_empty() => Verdict::Accepted(token.claims.sub.into()),
            _ => Verdict::Refused,
        }
    }
}

/// The one algorithm that a key without a word about it can mean.
fn natural_algorithm(jwk: &Jwk) -> Option<jsonwebtoken::Algorithm> {
    match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(_) => Some(jsonwebtoken::Algorithm::EdDSA),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            Some(jsonwebtoken::Algorithm::ES256)
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => {
            Some(jsonwebtoken::Algorithm::ES384)
        }
        _ => None,
    }
}

/// Whether the key's material is of the algorithm's kind. A shared secret never is.
fn fits(jwk: &Jwk, algorithm: jsonwebtoken::Algorithm) -> bool {
    use jsonwebtoken::Algorithm as A;
    match (&jwk.algorithm, algorithm) {
        (AlgorithmParameters::OctetKeyPair(_), A::EdDSA) => true,
        (AlgorithmParameters::EllipticCurve(key), A::ES256) => key.curve == EllipticCurve::P256,
        (AlgorithmParameters::EllipticCurve(key), A::ES384) => key.curve == EllipticCurve::P384,
        // 2048 bits are 342 characters of base64; shorter keys can be factored.
        (
            AlgorithmParameters::RSA(key),
            A::RS256 | A::RS384 | A::RS512 | A::PS256 | A::PS384 | A::PS512,
        ) => key.n.trim_start_matches('A').len() >= 341,
        _ => false,
    }
}

const fn to_jsonwebtoken(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::ES384 => jsonwebtoken::Algorithm::ES384,
        Algorithm::PS256 => jsonwebtoken::Algorithm::PS256,
        Algorithm::PS384 => jsonwebtoken::Algorithm::PS384,
        Algorithm::PS512 => jsonwebtoken::Algorithm::PS512,
        Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::RS384 => jsonwebtoken::Algorithm::RS384,
        Algorithm::RS512 => jsonwebtoken::Algorithm::RS512,
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::*;
    use crate::config::config::UpstreamId;

    /// An Ed25519 key made for these tests (PKCS #8), and its public half.
    const PRIVATE: &str = "302e020100300506032b6570042204201d2c5278c905f530a969e5da2d129edd9cd47541e8f3fcc0f122077a6efe771e";
    const PUBLIC: &str = "y4Yao_c3tLb4zs0GjNV2SeEMbvHnwBpKPn3h9iMEwFI";

    fn keys() -> Arc<Keys> {
        Keys::new(&Authentication {
            upstream: UpstreamId(0),
            verify_path: "/verify".to_owned(),
            jwks_path: "/jwks".to_owned(),
            timeout: Duration::from_millis(300),
            issuer: "us".to_owned(),
            audience: "them".to_owned(),
            algorithms: vec![Algorithm::EdDSA],
            jwks_refresh: Duration::from_secs(60),
            jwks_stale_max: Duration::from_secs(3600),
            token_bytes_max: 8192,
        })
    }

    fn ed25519() -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "x": PUBLIC, "kid": "one", "alg": "EdDSA", "use": "sig" })
    }

    fn set(keys: &[Value]) -> Vec<u8> {
        serde_json::to_vec(&json!({ "keys": keys })).unwrap()
    }

    fn with_a_key() -> Arc<Keys> {
        let keys = keys();
        assert_eq!(keys.replace(&set(&[ed25519()]), Instant::now()), Ok(1));
        keys
    }

    fn in_seconds(seconds: i64) -> i64 {
        i64::try_from(jsonwebtoken::get_current_timestamp()).unwrap() + seconds
    }

    fn claims() -> Value {
        json!({ "sub": "ana", "iss": "us", "aud": "them", "exp": in_seconds(60), "nbf": in_seconds(-1) })
    }

    fn token(kid: Option<&str>, claims: &Value) -> String {
        let header =
            Header { kid: kid.map(str::to_owned), ..Header::new(jsonwebtoken::Algorithm::EdDSA) };
        let der = hex::decode(PRIVATE).unwrap();
        encode(&header, claims, &EncodingKey::from_ed_der(&der)).unwrap()
    }

    fn verdict(token: &str) -> Verdict {
        with_a_key().check(token, Instant::now())
    }

    fn without(claim: &str) -> Value {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(claim);
        claims
    }

    fn with(claim: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[claim] = value;
        claims
    }

    #[test]
    fn a_good_token_is_its_subjects() {
        assert_eq!(verdict(&token(Some("one"), &claims())), Verdict::Accepted("ana".into()));
    }

    #[test]
    fn a_token_needs_each_of_its_claims_and_the_right_ones() {
        for claim in ["sub", "iss", "aud", "exp"] {
            assert_eq!(
                verdict(&token(Some("one"), &without(claim))),
                Verdict::Refused,
                "without {claim}"
            );
        }
        for (claim, value) in [
            ("sub", json!("")),
            ("iss", json!("someone")),
            ("aud", json!("someone")),
            ("exp", json!(in_seconds(-60))),
            ("exp", json!(in_seconds(60).to_string())),
            ("nbf", json!(in_seconds(60))),
        ] {
            assert_eq!(
                verdict(&token(Some("one"), &with(claim, value.clone()))),
                Verdict::Refused,
                "{claim} {value}"
            );
        }
    }

    #[test]
    fn a_changed_signature_a_strange_key_and_another_algorithm_are_refused() {
        let good = token(Some("one"), &claims());
        let (body, signature) = good.rsplit_once('.').unwrap();
        let other = if signature.starts_with('A') { "B" } else { "A" };
        assert_eq!(verdict(&format!("{body}.{other}{}", &signature[1..])), Verdict::Refused);
        assert_eq!(verdict(&token(Some("two"), &claims())), Verdict::Refused);
        assert_eq!(verdict(&token(None, &claims())), Verdict::Refused);
        let shared = EncodingKey::from_secret(PUBLIC.as_bytes());
        let header =
            Header { kid: Some("one".to_owned()), ..Header::new(jsonwebtoken::Algorithm::HS256) };
        assert_eq!(verdict(&encode(&header, &claims(), &shared).unwrap()), Verdict::Refused);
        assert_eq!(
            verdict(&format!("eyJhbGciOiJub25lIn0.{}.", body.split('.').nth(1).unwrap())),
            Verdict::Refused
        );
        assert_eq!(verdict("nonsense"), Verdict::Refused);
    }

    #[test]
    fn a_set_without_a_usable_key_leaves_the_last_good_one() {
        let keys = with_a_key();
        let secret = json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "one", "alg": "HS256" });
        let mislabelled = json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "one", "alg": "EdDSA" });
        let for_encryption =
            json!({ "kty": "OKP", "crv": "Ed25519", "x": PUBLIC, "kid": "one", "use": "enc" });
        let not_configured =
            json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "one", "alg": "RS256" });
        for bad in [secret, mislabelled, for_encryption, not_configured] {
            assert!(
                keys.replace(&set(std::slice::from_ref(&bad)), Instant::now()).is_err(),
                "{bad}"
            );
        }
        assert!(keys.replace(b"<html>", Instant::now()).is_err());
        let good = token(Some("one"), &claims());
        assert_eq!(keys.check(&good, Instant::now()), Verdict::Accepted("ana".into()));
    }

    #[test]
    fn nobody_can_say_without_keys_or_with_keys_that_are_too_old() {
        let good = token(Some("one"), &claims());
        assert_eq!(keys().check(&good, Instant::now()), Verdict::Unavailable);
        let later = Instant::now() + Duration::from_secs(3601);
        assert_eq!(with_a_key().check(&good, later), Verdict::Unavailable);
    }
}
