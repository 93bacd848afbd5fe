//! The signing key and the tokens made with it.
//!
//! One Ed25519 key, made at the first start and kept in the data directory for its owner only, so that tokens outlive
//! a restart. Its id is its RFC 7638 thumbprint: the same key always has the same id.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::startup::OpenError;

pub(super) const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

const ISSUER: &str = "portcullis-demo-auth";
const AUDIENCE: &str = "portcullis-demo";

const SEED_LENGTH: usize = 32;
/// What stands before the seed in a PKCS #8 private key of Ed25519 (RFC 8410, section 7): all of it is fixed.
const PKCS8_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) sub: String,
    iss: String,
    aud: String,
    iat: i64,
    nbf: i64,
    exp: i64,
}

impl Claims {
    /// The end of the token's life, in RFC 3339.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.exp).ok()
    }
}

pub(super) struct Signer {
    header: Header,
    private: EncodingKey,
    public: DecodingKey,
    published: Jwk,
    validation: Validation,
}

impl Signer {
    /// Reads the key from the data directory, or makes it there.
    pub(super) fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let path = data_dir.join("signing-key.der");
        let fault = |error: &dyn std::fmt::Display| {
            format!("can't use the signing key {}: {error}", path.display())
        };
        let key = read_or_create(&path).map_err(|error| fault(&error))?;
        Ok(Signer::new(&key).map_err(|error| fault(&error))?)
    }

    fn new(pkcs8: &[u8]) -> jsonwebtoken::errors::Result<Self> {
        let private = EncodingKey::from_ed_der(pkcs8);
        let mut published = Jwk::from_encoding_key(&private, Algorithm::EdDSA)?;
        let kid = published.thumbprint(ThumbprintHash::SHA256)?;
        published.common.key_id = Some(kid.clone());
        published.common.public_key_use = Some(PublicKeyUse::Signature);
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(kid);
        Ok(Signer {
            header,
            private,
            public: DecodingKey::from_jwk(&published)?,
            published,
            validation: validation(),
        })
    }

    pub(super) fn sign(
        &self,
        subject: &str,
        now: Timestamp,
    ) -> jsonwebtoken::errors::Result<String> {
        let iat = now.as_second();
        let exp = iat + TOKEN_LIFETIME.as_secs() as i64;
        let (iss, aud) = (ISSUER.to_owned(), AUDIENCE.to_owned());
        let claims = Claims { sub: subject.to_owned(), iss, aud, iat, nbf: iat, exp };
        jsonwebtoken::encode(&self.header, &claims, &self.private)
    }

    /// The claims of a token that this service signed and that is in its time.
    pub(super) fn check(&self, token: &str) -> Option<Claims> {
        jsonwebtoken::decode(token, &self.public, &self.validation).ok().map(|data| data.claims)
    }

    pub(super) fn public_keys(&self) -> JwkSet {
        JwkSet { keys: vec![self.published.clone()] }
    }
}

fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    validation.validate_nbf = true;
    // One clock signs and checks, so there is no skew to forgive.
    validation.leeway = 0;
    validation
}

fn read_or_create(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path),
        Ok(key) if key.len() == PKCS8_HEAD.len() + SEED_LENGTH && key.starts_with(&PKCS8_HEAD) => {
            Ok(key)
        }
        Ok(_) => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "it is not an Ed25519 key in PKCS #8"))
        }
        Err(error) => Err(error),
    }
}

/// Writes aside and renames, so that a crash leaves no half key behind.
fn create(path: &Path) -> io::Result<Vec<u8>> {
    let mut key = PKCS8_HEAD.to_vec();
    key.resize(PKCS8_HEAD.len() + SEED_LENGTH, 0);
    getrandom::fill(&mut key[PKCS8_HEAD.len()..]).map_err(io::Error::other)?;
    let aside = path.with_extension("new");
    // The mode is only set on a file that the call creates, so what an earlier crash left behind goes first.
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(&key)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    fn signer() -> (TempDir, Signer) {
        let directory = TempDir::new().unwrap();
        let signer = Signer::open(directory.path()).unwrap();
        (directory, signer)
    }

    #[test]
    fn a_token_names_its_key_and_who_made_it_for_whom() {
        let (_directory, signer) = signer();
        let token = signer.sign("admin", Timestamp::now()).unwrap();
        assert_eq!(
            jsonwebtoken::decode_header(&token).unwrap().kid,
            signer.published.common.key_id
        );
        let claims = signer.check(&token).unwrap();
        assert_eq!(
            (claims.sub.as_str(), claims.iss.as_str(), claims.aud.as_str()),
            ("admin", ISSUER, AUDIENCE)
        );
        assert_eq!((claims.nbf, claims.exp), (claims.iat, claims.iat + 3600));
    }

    #[test]
    fn a_token_is_good_from_its_beginning_to_its_end() {
        let (_directory, signer) = signer();
        let (now, hour) = (Timestamp::now(), TOKEN_LIFETIME);
        assert!(
            signer
                .check(&signer.sign("admin", now - hour - Duration::from_secs(5)).unwrap())
                .is_none()
        );
        assert!(
            signer
                .check(&signer.sign("admin", now - hour + Duration::from_secs(60)).unwrap())
                .is_some()
        );
        assert!(
            signer.check(&signer.sign("admin", now + Duration::from_secs(60)).unwrap()).is_none()
        );
    }

    #[test]
    fn another_key_signs_nothing_that_we_accept() {
        let ((_one, ours), (_other, theirs)) = (signer(), signer());
        assert!(ours.check(&theirs.sign("admin", Timestamp::now()).unwrap()).is_none());
    }

    #[test]
    fn the_key_is_kept_for_its_owner_only_and_read_again() {
        let (directory, signer) = signer();
        let mode =
            fs::metadata(directory.path().join("signing-key.der")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = Signer::open(directory.path()).unwrap();
        assert_eq!(again.published, signer.published);
    }

    #[test]
    fn a_damaged_key_is_refused_by_name() {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("signing-key.der"), b"half").unwrap();
        let error = Signer::open(directory.path()).err().unwrap().to_string();
        assert!(error.ends_with("signing-key.der: it is not an Ed25519 key in PKCS #8"), "{error}");
    }

    #[test]
    fn what_is_published_holds_no_private_part() {
        let (_directory, signer) = signer();
        let published = serde_json::to_value(signer.public_keys()).unwrap();
        let key = published["keys"][0].as_object().unwrap();
        assert!(key.contains_key("x") && !key.contains_key("d"));
    }
}
