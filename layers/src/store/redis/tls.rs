//! TLS to a server: who vouches for it, which name it proves, and who we are.

use std::{fmt::Display, io, path::Path, sync::Arc};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use super::{Tls, connection::Wire};

pub(super) type Encrypted = StreamOwned<ClientConnection, Wire>;

/// Greets the server on the wire, and comes back once it has proved who it is.
pub(super) fn encrypt(tls: &Tls, host: &str, mut wire: Wire) -> io::Result<Encrypted> {
    let config = config(tls).map_err(io::Error::other)?;
    let name = tls.server_name.as_deref().unwrap_or(host).to_owned();
    let name = ServerName::try_from(name).map_err(io::Error::other)?;
    let mut session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    while session.is_handshaking() {
        session.complete_io(&mut wire)?;
    }
    Ok(StreamOwned::new(session, wire))
}

/// Whether a connection could be begun with these files.
pub(super) fn check(tls: &Tls) -> Result<(), String> {
    if let Some(name) = &tls.server_name {
        ServerName::try_from(name.as_str())
            .map_err(|error| format!("{name:?} is no name of a server: {error}"))?;
    }
    config(tls).map(drop)
}

fn config(tls: &Tls) -> Result<ClientConfig, String> {
    // Named, so that it doesn't depend on what else is linked into the process.
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots(tls)?);
    let Some(own) = &tls.identity else { return Ok(builder.with_no_client_auth()) };
    let fault = |error: &dyn Display| unusable(&own.key, error);
    let key = PrivateKeyDer::from_pem_file(&own.key).map_err(|error| fault(&error))?;
    let chain = certificates(&own.certificates)?;
    builder.with_client_auth_cert(chain, key).map_err(|error| fault(&error))
}

fn roots(tls: &Tls) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(file) => {
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| unusable(file, &error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("this machine trusts nobody to vouch for a server".to_owned());
            }
        }
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let all: Vec<_> = read.map_err(|error| unusable(file, &error))?;
    if all.is_empty() { Err(unusable(file, &"it has no certificate")) } else { Ok(all) }
}

fn unusable(file: &Path, error: &dyn Display) -> String {
    format!("{} is of no use: {error}", file.display())
}
