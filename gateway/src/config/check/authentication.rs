//! How the gateway learns who calls.

use super::{Check, Kind};
use crate::config::config::{Algorithm, Authentication, UpstreamId};
use crate::config::file;

impl Check<'_, '_> {
    /// The outer `None` is a fault; the inner one says that the file has no such table.
    pub(super) fn authentication(&mut self) -> Option<Option<Authentication>> {
        let Some(file) = &self.file.authentication else { return Some(None) };
        let site = self.root.key("authentication");
        let upstream = file
            .upstream
            .as_ref()
            .and_then(|name| self.resolve(Kind::Upstream, name, site.key("upstream")));
        let verify_path = self.own_path(site.key("verify_path"), &file.verify_path);
        let jwks_path = self.own_path(site.key("jwks_path"), &file.jwks_path);
        let (refresh, stale) = (file.jwks_refresh_seconds, file.jwks_stale_max_seconds);
        if stale.0 < refresh.0 {
            let wrong = format!(
                "keys would be too old after {} s, before they are fetched again after {} s",
                stale.0, refresh.0
            );
            self.report(site.key("jwks_stale_max_seconds"), wrong);
        }
        let mut algorithms: Vec<_> = file.algorithms.iter().copied().map(algorithm).collect();
        algorithms.dedup();
        Some(Some(Authentication {
            upstream: UpstreamId(upstream?),
            verify_path: verify_path?,
            jwks_path: jwks_path?,
            timeout: file.timeout_seconds.duration(),
            issuer: file.issuer.clone()?,
            audience: file.audience.clone()?,
            algorithms,
            jwks_refresh: refresh.duration(),
            jwks_stale_max: stale.duration(),
            token_bytes_max: file.token_bytes_max,
        }))
    }
}

fn algorithm(file: file::Algorithm) -> Algorithm {
    match file {
        file::Algorithm::EdDSA => Algorithm::EdDSA,
        file::Algorithm::ES256 => Algorithm::ES256,
        file::Algorithm::ES384 => Algorithm::ES384,
        file::Algorithm::PS256 => Algorithm::PS256,
        file::Algorithm::PS384 => Algorithm::PS384,
        file::Algorithm::PS512 => Algorithm::PS512,
        file::Algorithm::RS256 => Algorithm::RS256,
        file::Algorithm::RS384 => Algorithm::RS384,
        file::Algorithm::RS512 => Algorithm::RS512,
    }
}
