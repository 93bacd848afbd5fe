//! Where the gateway writes: the store, the log, the traces.

use std::path::PathBuf;

use super::{Check, address};
use crate::config::config::{Log, Store, Telemetry};
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
            StoreKind::Redis => {
                let wrong = "this version keeps no state in Redis; take \"embedded\" or \"memory\"";
                self.report(site.key("kind"), wrong);
                None
            }
        }
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
