//! Whether a webhook over https is who its URL says: its certificate must have the host's name, from an authority that is
//! believed. Those are the machine's, or those of one file instead.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

pub(super) struct Trust {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Trust {
    /// Trust in the host of this name, as the authorities of the file vouch for it, or those of the machine.
    pub(super) fn new(ca_file: Option<&Path>, host: &str) -> Result<Self, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("webhook.url: no certificate can be for the name \"{host}\""))?;
        let roots = ca_file.map_or_else(of_the_machine, of_the_file)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has the suites of TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { connector: Arc::new(config).into(), name })
    }

    /// Shakes hands over this connection.
    pub(super) async fn connect(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.connector.connect(self.name.clone(), stream).await
    }
}

fn of_the_file(file: &Path) -> Result<RootCertStore, String> {
    let fault = |why: &dyn std::fmt::Display| format!("webhook.ca_file {}: {why}", file.display());
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| fault(&error))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| fault(&error))?;
        roots.add(certificate).map_err(|error| fault(&error))?;
    }
    if roots.is_empty() {
        return Err(fault(&"it has no certificate in PEM"));
    }
    Ok(roots)
}

/// A machine's store is not ours to mend: what of it can't be read is left out, unless nothing is left.
fn of_the_machine() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(
            "webhook.url: this machine believes no authority; name some in webhook.ca_file"
                .to_owned(),
        );
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(file: &Path, host: &str) -> String {
        Trust::new(Some(file), host).err().expect("it can't be believed")
    }

    #[test]
    fn a_file_that_vouches_for_nobody_is_a_fault_that_names_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("ca.pem");
        assert!(fault(&file, "localhost").contains("ca.pem: "));
        std::fs::write(&file, "nothing of the kind").expect("it is written");
        assert!(fault(&file, "localhost").ends_with("it has no certificate in PEM"));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&file, broken).expect("it is written");
        assert!(fault(&file, "localhost").contains("ca.pem: "));
    }

    #[test]
    fn a_host_that_no_certificate_can_name_is_a_fault() {
        assert!(fault(Path::new("ca.pem"), "a_b..c").contains("a_b..c"));
    }
}
