//! The two listeners: `[server]` for clients, `[admin]` for operators.
//!
//! Both refuse what would only fail later or be unsafe: a port taken twice, an admin API that anyone could reach.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::{Check, address, pattern};
use crate::config::config::{Admin, AdminKey, DoubleSlash, EncodedSlash, Role, Server};
use crate::config::fault::Wrong;
use crate::config::file;

/// The name of the key that `API_KEY` adds.
const ENVIRONMENT_KEY: &str = "env";

impl Check<'_, '_> {
    pub(super) fn server(&mut self) -> Option<Server> {
        let (file, site) = (&self.file.server, self.root.key("server"));
        let listen = self.accept(site.key("listen"), address::socket(&file.listen));
        let mut trusted_proxies = Vec::new();
        for (index, text) in file.trusted_proxies.iter().enumerate() {
            let site = site.key("trusted_proxies").item(index);
            trusted_proxies.extend(self.accept(site, address::cidr(text)));
        }
        let request_trailers = self.trailers(site.key("request_trailers"), &file.request_trailers);
        let response_trailers =
            self.trailers(site.key("response_trailers"), &file.response_trailers);
        Some(Server {
            listen: listen?,
            workers: file.workers.unwrap_or_else(cores),
            connections_max: file.connections_max,
            first_byte_timeout: file.first_byte_timeout_seconds.duration(),
            header_timeout: file.header_timeout_seconds.duration(),
            idle_timeout: file.idle_timeout_seconds.duration(),
            body_idle_timeout: file.body_idle_timeout_seconds.duration(),
            request_timeout: file.request_timeout_seconds.duration(),
            drain_timeout: file.drain_timeout_seconds.duration(),
            header_bytes_max: file.header_bytes_max,
            headers_max: file.headers_max,
            body_bytes_max: file.body_bytes_max,
            trusted_proxies,
            double_slash: match file.double_slash {
                file::DoubleSlash::Merge => DoubleSlash::Merge,
                file::DoubleSlash::Reject => DoubleSlash::Reject,
                file::DoubleSlash::Keep => DoubleSlash::Keep,
            },
            encoded_slash: match file.encoded_slash {
                file::EncodedSlash::Reject => EncodedSlash::Reject,
                file::EncodedSlash::Keep => EncodedSlash::Keep,
            },
            request_trailers,
            response_trailers,
        })
    }

    pub(super) fn admin(&mut self) -> Option<Admin> {
        let (file, site) = (&self.file.admin, self.root.key("admin"));
        let production = self.variable("ENVIRONMENT").is_some_and(|name| {
            ["production", "prod"].iter().any(|word| name.trim().eq_ignore_ascii_case(word))
        });
        let listen = self.accept(site.key("listen"), address::socket(&file.listen));
        let keys = self.keys();
        // A faulty key is a fault of its own; it does not make the listener an open one.
        let open = file.keys.is_empty() && keys.is_empty();
        if let Some(listen) = listen.filter(|listen| open && !listen.ip().is_loopback()) {
            self.report(
                site.key("listen"),
                format!("the admin listener at {listen} can be reached from outside and needs a key; `portcullis keygen` makes one"),
            );
        }
        if open && production {
            self.report(
                site,
                "ENVIRONMENT=production needs a key, in [[admin.keys]] or in API_KEY",
            );
        }
        let allowed_hosts = self.allowed_hosts();
        let allowed_origins = self.allowed_origins();
        Some(Admin {
            listen: listen?,
            test_endpoints: file.test_endpoints && !production,
            production,
            keys,
            allowed_hosts,
            allowed_origins,
            requests_per_second: file.requests_per_second,
        })
    }

    /// Refuses two listeners that want one port.
    pub(super) fn listeners_apart(&mut self, server: Option<&Server>, admin: Option<&Admin>) {
        let (Some(server), Some(admin)) = (server, admin) else { return };
        if address::overlap(server.listen, admin.listen) {
            let wrong = format!(
                "the admin listener at {} overlaps the one of [server] at {}",
                admin.listen, server.listen
            );
            let admin = self.root.key("admin").key("listen");
            // Where only [server] is written, the port is its to change.
            let site =
                if admin.is_written() { admin } else { self.root.key("server").key("listen") };
            self.report(site, wrong);
        }
    }

    fn keys(&mut self) -> Vec<AdminKey> {
        let site = self.root.key("admin").key("keys");
        let mut names = BTreeMap::new();
        let mut keys = Vec::new();
        for (index, key) in self.file.admin.keys.iter().enumerate() {
            let site = site.item(index);
            keys.extend(self.key(site, key));
            let Some(name) = key.name.as_deref() else { continue };
            if let Some(first) = names.insert(name, self.place(site).line) {
                let wrong = format!("the key \"{name}\" is declared in line {first} already");
                self.report(site.key("name"), wrong);
            }
        }
        keys.extend(self.environment_key());
        keys
    }

    fn key(&mut self, site: super::Site<'_>, key: &file::AdminKey) -> Option<AdminKey> {
        let (Some(name), Some(role), Some(hash)) = (&key.name, key.role, &key.sha256) else {
            return None;
        };
        let sha256 = self.accept(site.key("sha256"), sha256(hash));
        if name.is_empty() || name == ENVIRONMENT_KEY {
            let wrong = format!(
                "a key can't be named \"{name}\"; `{ENVIRONMENT_KEY}` is the one of API_KEY"
            );
            self.report(site.key("name"), wrong);
        }
        let role = match role {
            file::Role::Viewer => Role::Viewer,
            file::Role::Killer => Role::Killer,
            file::Role::Operator => Role::Operator,
            file::Role::Admin => Role::Admin,
        };
        let expires = match &key.expires {
            Some(text) => Some(self.accept(site.key("expires"), moment(text))?),
            None => None,
        };
        Some(AdminKey { name: name.clone(), role, sha256: sha256?, expires })
    }

    fn environment_key(&self) -> Option<AdminKey> {
        let secret = self.variable("API_KEY")?;
        Some(AdminKey {
            name: ENVIRONMENT_KEY.to_owned(),
            role: Role::Operator,
            sha256: Sha256::digest(secret.as_bytes()).into(),
            expires: None,
        })
    }

    fn allowed_hosts(&mut self) -> Vec<String> {
        let site = self.root.key("admin").key("allowed_hosts");
        let mut hosts = Vec::new();
        for (index, text) in self.file.admin.allowed_hosts.iter().enumerate() {
            hosts.extend(self.accept(site.item(index), pattern::exact_host(text)));
        }
        hosts
    }

    fn allowed_origins(&mut self) -> Vec<String> {
        let site = self.root.key("admin").key("allowed_origins");
        let mut origins = Vec::new();
        for (index, text) in self.file.admin.allowed_origins.iter().enumerate() {
            origins.extend(self.accept(site.item(index), origin(text).map_err(Wrong::from)));
        }
        let variable = self.variable("ALLOWED_ORIGINS").unwrap_or_default();
        for text in variable.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            let allowed = origin(text).map_err(|wrong| format!("ALLOWED_ORIGINS: {wrong}").into());
            origins.extend(self.accept(self.root.key("admin"), allowed));
        }
        origins
    }

    /// A variable of the environment; an empty one counts as none, as compose files leave them.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name).filter(|value| !value.is_empty())
    }
}

fn sha256(text: &str) -> Result<[u8; 32], Wrong> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash)
        .map_err(|_| "a SHA-256 has 64 hexadecimal digits; `portcullis keygen` prints them")?;
    Ok(hash)
}

/// As browsers write it: a scheme and an authority, and nothing after it. A star would let in every page of the world.
fn origin(text: &str) -> Result<String, String> {
    let bare = |uri: &http::Uri| {
        let authority = uri.authority().map_or("*", http::uri::Authority::as_str);
        let written = format!("{}://{authority}", uri.scheme_str().unwrap_or_default());
        !authority.contains(['@', '*']) && text.eq_ignore_ascii_case(&written)
    };
    let uri = text.parse().ok().filter(bare);
    if !uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https"))) {
        return Err(format!(
            "\"{text}\" is no origin; write one as https://ops.example.com or http://localhost:3000"
        ));
    }
    Ok(text.to_ascii_lowercase())
}

fn moment(text: &str) -> Result<SystemTime, Wrong> {
    let moment: jiff::Timestamp = text.parse().map_err(|_| {
        format!("\"{text}\" is no date and time; write one as 2027-01-31T00:00:00Z, with its zone")
    })?;
    Ok(moment.into())
}

/// One per core; one when that can't be told.
fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
