//! The configuration: no text is a panic, and every fault stands at a place inside its file.

use std::path::Path;

use portcullis_gateway::config::parse;
use portcullis_gateway::router::Table;

use super::{Target, must};

pub(crate) struct Config;

impl Target for Config {
    fn name(&self) -> &'static str {
        "config"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
        let files = [folder.clone(), folder.join("broken")].into_iter().flat_map(|folder| {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
            files.sort();
            files
        });
        let toml =
            files.filter(|file| file.extension().is_some_and(|extension| extension == "toml"));
        toml.filter_map(|file| std::fs::read(file).ok()).collect()
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[
            b"[[routes]]\n",
            b"[upstreams.a]\n",
            b"url = \"http://127.0.0.1:1\"\n",
            b"path = \"/{id}\"\n",
            b"{*rest}",
            b"{",
            b"}",
            b"[features.f]\n",
            b"[breakers.b]\n",
            b"[[redirects]]\n",
            b"to = \"//a\"\n",
            b"rewrite = \"/{id}\"\n",
            b"set_headers = { X = \"y\" }\n",
            b"remove_headers = [\"x\"]\n",
            b"${HOME}",
            b"${",
            b"\"",
            b"\"\"\"",
            b"'",
            b"[",
            b"]",
            b"[[",
            b"]]",
            b"=",
            b"\n",
            b"1e999",
            b"-0.0",
            b"nan",
            b"1979-05-27T07:32:00Z",
            b"true",
            b"#",
            b"\\u0000",
            b"\\uD800",
            b"breaker = false\n",
            b"host = \"*.a\"\n",
            b"timeout_seconds = 0.0001\n",
            b"status = 304\n",
            b"[server]\n",
        ]
    }

    fn bytes_max(&self) -> usize {
        32 * 1024
    }

    fn attempt(&mut self, input: &[u8]) -> Result<String, String> {
        let text = String::from_utf8_lossy(input);
        let environment = |name: &str| (name == "HOME").then(|| "/home".to_owned());
        let faults = match parse("fuzz.toml", &text, &environment) {
            Ok(config) => {
                let _ = Table::new(&config.routes, &config.redirects, &["/health"]);
                return Ok(format!("sound {}", config.routes.len().min(3)));
            }
            Err(faults) => faults,
        };
        must(!faults.is_empty(), || "refused without a fault".to_owned())?;
        let lines: Vec<_> = text.split('\n').collect();
        for fault in &faults {
            let line = fault.line.checked_sub(1).and_then(|line| lines.get(line));
            let inside =
                line.is_some_and(|line| (1..=line.chars().count() + 1).contains(&fault.column));
            must(inside, || format!("a fault outside its file: {fault}"))?;
            must(!fault.to_string().contains('\n'), || {
                format!("a fault of several lines: {fault:?}")
            })?;
        }
        // Kinds of faults, without the names in them.
        let mut kinds: Vec<_> = faults.iter().map(|fault| kind(&fault.message)).collect();
        kinds.sort();
        kinds.dedup();
        kinds.truncate(4);
        Ok(kinds.join(" | "))
    }
}

fn kind(message: &str) -> String {
    let words =
        message.split(' ').filter(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()));
    words.take(5).collect::<Vec<_>>().join(" ")
}
