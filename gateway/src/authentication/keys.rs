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
