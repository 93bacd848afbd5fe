//! Where the gateway writes: the store, the log, the traces.

use std::path::PathBuf;
use std::time::Duration;

use super::{Check, address};
use crate::config::config::{Log, Redis, RedisTls, RedisTopology, Store, Telemetry};
use crate::config::fault::{Wrong, nearest};
use crate::config::file::StoreKind;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl Check<'_, '_> {
    pub(super) fn store(&mut self) -> Option<Store> {
        let (file, site) = (&self.file.store, self.root.key("store"));
        match file.kind {
            StoreKind::Memory => Some(Store::Memory),
            StoreKind::Embedded if file.directory.is_empty() => {
                self.report(site.key("directory"), "an embedded store needs a directory");
                None
            }
            StoreKind::Embedded => {
                Some(Store::Embedded { directory: PathBuf::from(&file.directory) })
            }
            StoreKind::Redis => self.redis().map(|redis| Store::Redis(Box::new(redis))),
        }
    }

    fn redis(&mut self) -> Option<Redis> {
        let (file, site) = (&self.file.store, self.root.key("store"));
        let Some(url) = file.url.clone() else {
            self.report(site.key("kind"), "a store in Redis needs its `url`");
            return None;
        };
        let urls =
            [&url].into_iter().chain(&file.sentinels).chain(file.cluster_nodes.iter().flatten());
        if !urls.clone().fold(true, |all, url| all & is_redis(url)) {
            // The faulty text may hold a password, so it isn't quoted.
            let wrong = "an address of Redis reads redis://[user:password@]host[:port][/database], or rediss:// for TLS";
            self.report(site.key("url"), wrong);
            return None;
        }
        let is_over_tls = urls.fold(false, |any, url| any | url.starts_with("rediss://"));
        let tls = self.redis_tls(is_over_tls)?;
        if !is_plain(&file.namespace) {
            self.report(
                site.key("namespace"),
                "a namespace has 1 to 64 letters, digits, `-`, `_`, `.` and `:`",
            );
            return None;
        }
        let topology = match (&file.sentinel_master, &file.cluster_nodes) {
            (Some(_), Some(_)) => {
                self.report(
                    site.key("cluster_nodes"),
                    "Sentinels don't know clusters: take one of the two",
                );
                return None;
            }
            (Some(_), None) if file.sentinels.is_empty() => {
                self.report(
                    site.key("sentinel_master"),
                    "needs `sentinels`, which know its address",
                );
                return None;
            }
            (Some(master), None) => RedisTopology::Sentinel {
                sentinels: file.sentinels.clone(),
                master: master.clone(),
            },
            (None, _) if !file.sentinels.is_empty() => {
                self.report(
                    site.key("sentinels"),
                    "needs `sentinel_master`, the server that they are asked for",
                );
                return None;
            }
            (None, Some(nodes)) => RedisTopology::Cluster { nodes: nodes.clone() },
            (None, None) => RedisTopology::Single,
        };
        Some(Redis {
            url,
            tls,
            topology,
            namespace: file.namespace.clone(),
            instance: file.instance.clone().filter(|name| !name.is_empty()),
            directory: PathBuf::from(&file.directory),
            timeout: Duration::from_millis(file.timeout_ms),
        })
    }

    fn redis_tls(&mut self, is_over_tls: bool) -> Option<RedisTls> {
        let Some(file) = &self.file.store.tls else { return Some(RedisTls::default()) };
        let site = self.root.key("store").key("tls");
        if !is_over_tls {
            self.report(site, "is of no use: no address of Redis begins with rediss://");
            return None;
        }
        let identity = match (&file.certificate, &file.key) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (None, None) => None,
            (Some(_), None) => {
                self.report(site.key("certificate"), "needs its private `key`");
                return None;
            }
            (None, Some(_)) => {
                self.report(site.key("key"), "needs the `certificate` that it belongs to");
                return None;
            }
        };
        let ca = file.ca.as_ref().map(PathBuf::from);
        Some(RedisTls { ca, identity, server_name: file.server_name.clone() })
    }

    pub(super) fn log(&mut self) -> Option<Log> {
        let (file, site) = (&self.file.log, self.root.key("log"));
        let level = self.accept(site.key("level"), level(&file.level));
        if file.file.as_deref() == Some("") {
            self.report(site.key("file"), "the log needs a file's name, or no `file` at all");
        }
        Some(Log {
            level: level?,
            file: file.file.as_ref().map(PathBuf::from),
            access: file.access,
        })
    }

    pub(super) fn telemetry(&mut self) -> Option<Telemetry> {
        let (file, site) = (&self.file.telemetry, self.root.key("telemetry"));
        let endpoint = file.otlp_endpoint.clone();
        // An empty value, such as a variable that may be unset, turns the export off.
        let endpoint = match endpoint {
            Some(text) => Some(text).filter(|text| !text.is_empty()),
            None => self.variable("OTEL_EXPORTER_OTLP_ENDPOINT"),
        };
        let otlp_endpoint = match endpoint {
            Some(text) => Some(self.accept(site.key("otlp_endpoint"), address::collector(&text))?),
            None => None,
        };
        let service_name = file.service_name.clone().or_else(|| self.variable("OTEL_SERVICE_NAME"));
        Some(Telemetry {
            otlp_endpoint,
            service_name: service_name.unwrap_or_else(|| "portcullis".to_owned()),
            sample_ratio: file.sample_ratio,
        })
    }
}

/// Whether the store may take it for an address; what it makes of it, it says itself.
fn is_redis(url: &str) -> bool {
    let rest = url.strip_prefix("redis://").or_else(|| url.strip_prefix("rediss://"));
    // What other clients read from behind a `#` is leave to trust anybody.
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains([' ', '\t', '\n', '\r', '#']))
}

fn is_plain(namespace: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    (1..=64).contains(&namespace.len()) && namespace.bytes().all(is_good)
}

/// Reads `info` or `info,portcullis=debug`.
///
/// The filter of tracing takes any word it does not know for a module at its most talkative, so a slip would flood the log.
fn level(text: &str) -> Result<String, Wrong> {
    for directive in text.split(',') {
        let (module, level) = match directive.split_once('=') {
            Some((module, level)) => (Some(module), level),
            None => (None, directive),
        };
        let module_is_good = module.is_none_or(|module| {
            !module.is_empty()
                && module.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte))
        });
        if !module_is_good || !LEVELS.contains(&level) {
            let wrong = Wrong::from(format!(
                "\"{directive}\" is no level: it is one of {}, or a module and one of these, such as portcullis=debug",
                LEVELS.join(", ")
            ));
            return Err(wrong.or(nearest(level, LEVELS)));
        }
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_may_differ_per_module() {
        assert!(level("warn,portcullis=debug,hyper_util::client=off").is_ok());
    }

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_module() {
        assert_eq!(level("inof").unwrap_err().suggestion.as_deref(), Some("info"));
        assert!(level("").is_err());
        assert!(level("=info").is_err());
    }
}
