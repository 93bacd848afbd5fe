//! Certificates of an authority of our own: one for servers, which has a name and no address, and one for clients.

use std::{fs, path::PathBuf};

use portcullis::store::redis::{Identity, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::{TempDir, tempdir};

/// What the servers' certificate says that they are.
pub(crate) const NAME: &str = "redis.test";

/// Files in a directory that goes with this value.
pub(crate) struct Certificates(TempDir);

impl Certificates {
    pub(crate) fn made() -> Self {
        let made = Self(tempdir().unwrap());
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = format!("the authority {}", fastrand::u64(..));
        authority.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        fs::write(made.file("ca.pem"), issuer.pem()).unwrap();
        for name in [NAME, "client.test"] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new([name.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            fs::write(made.file(&format!("{name}.pem")), certificate.pem()).unwrap();
            fs::write(made.file(&format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        made
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn path(&self, name: &str) -> String {
        self.file(name).to_string_lossy().into_owned()
    }

    /// How a client shows who it is and knows the server.
    pub(crate) fn settings(&self) -> Tls {
        Tls {
            ca: Some(self.file("ca.pem")),
            identity: Some(Identity {
                certificates: self.file("client.test.pem"),
                key: self.file("client.test.key"),
            }),
            server_name: Some(NAME.to_owned()),
        }
    }

    /// The lines of a server's configuration.
    pub(crate) fn of_a_server(&self) -> Vec<(&'static str, String)> {
        vec![
            ("tls-cert-file", self.path(&format!("{NAME}.pem"))),
            ("tls-key-file", self.path(&format!("{NAME}.key"))),
            ("tls-ca-cert-file", self.path("ca.pem")),
            ("tls-replication", "yes".to_owned()),
        ]
    }

    /// For redis-cli.
    pub(crate) fn of_a_client(&self) -> Vec<String> {
        let (ca, own, key) =
            (self.path("ca.pem"), self.path("client.test.pem"), self.path("client.test.key"));
        ["--tls", "--cacert", &ca, "--cert", &own, "--key", &key].map(str::to_owned).to_vec()
    }
}
