//! Reads `Cargo.lock`: which packages, in which version, from where. It is written by cargo, one key per line.

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Locked {
    pub(super) name: String,
    pub(super) version: String,
    /// None for our own.
    pub(super) source: Option<String>,
}

pub(super) fn read(lock: &str) -> Vec<Locked> {
    lock.split("[[package]]").skip(1).map(package).collect()
}

fn package(block: &str) -> Locked {
    let value = |key: &str| {
        let quoted = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))?;
        Some(quoted.trim_matches('"').to_owned())
    };
    Locked {
        name: value("name").unwrap_or_default(),
        version: value("version").unwrap_or_default(),
        source: value("source"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::supply) fn locked(name: &str, version: &str, source: Option<&str>) -> Locked {
        Locked { name: name.into(), version: version.into(), source: source.map(Into::into) }
    }

    #[test]
    fn packages_of_ours_have_no_source() {
        let lock = "version = 4\n\n[[package]]\nname = \"ours\"\nversion = \"0.1.0\"\ndependencies = [\n \"bytes\",\n]\n\n\
                    [[package]]\nname = \"bytes\"\nversion = \"1.2.3\"\nsource = \"registry+x\"\n";
        assert_eq!(
            read(lock),
            [locked("ours", "0.1.0", None), locked("bytes", "1.2.3", Some("registry+x"))]
        );
    }
}
