//! Where everything is: the processes by name, their addresses, the workspace and the data directory.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// One process of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Auth,
    Sensor,
    KafkaProducer,
    Orders,
    Control,
    Gateway,
}

impl Name {
    const ALL: [Name; 6] =
        [Name::Auth, Name::Sensor, Name::KafkaProducer, Name::Orders, Name::Control, Name::Gateway];

    /// What `cargo demo` starts: all but the control service, whose absence shows what a breaker does.
    pub(crate) const DEMO: [Name; 5] =
        [Name::Auth, Name::Sensor, Name::KafkaProducer, Name::Orders, Name::Gateway];

    pub(crate) fn parse(text: &str) -> Result<Name, String> {
        Name::ALL.into_iter().find(|name| name.text() == text).ok_or_else(|| {
            let known = Name::ALL.map(Name::text).join(", ");
            format!("there is no service {text:?}, only {known}")
        })
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Name::Auth => "auth",
            Name::Sensor => "sensor",
            Name::KafkaProducer => "kafka-producer",
            Name::Orders => "orders",
            Name::Control => "control",
            Name::Gateway => "gateway",
        }
    }

    /// The file that cargo builds.
    pub(crate) fn binary(self) -> &'static str {
        if self == Name::Gateway { "portcullis" } else { self.text() }
    }
}

/// The places of one demo. Several demos run side by side when theirs differ.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) listen: SocketAddr,
    pub(crate) admin_listen: SocketAddr,
    pub(crate) workspace: PathBuf,
    pub(crate) data_dir: PathBuf,
    ports: [(Name, u16); 5],
}

impl Places {
    pub(crate) fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let workspace = workspace();
        let data_dir = match variable("PORTCULLIS_DATA_DIR").filter(|text| !text.is_empty()) {
            // The children run in the workspace, so what was relative for the caller must not be for them.
            Some(text) => std::path::absolute(&text)
                .map_err(|error| format!("PORTCULLIS_DATA_DIR is {text:?}: {error}"))?,
            None => workspace.join("var").join("demo"),
        };
        let port =
            |name, key: &str, default| Ok::<_, String>((name, port(key, variable(key), default)?));
        Ok(Places {
            listen: address("PORTCULLIS_LISTEN", variable("PORTCULLIS_LISTEN"), 8000)?,
            admin_listen: address(
                "PORTCULLIS_ADMIN_LISTEN",
                variable("PORTCULLIS_ADMIN_LISTEN"),
                8001,
            )?,
            workspace,
            data_dir,
            ports: [
                port(Name::Auth, "AUTH_PORT", 8101)?,
                port(Name::Sensor, "SENSOR_PORT", 8102)?,
                port(Name::KafkaProducer, "KAFKA_PRODUCER_PORT", 8103)?,
                port(Name::Orders, "ORDERS_PORT", 8104)?,
                port(Name::Control, "CONTROL_PORT", 8105)?,
            ],
        })
    }

    /// Where a process answers its callers.
    pub(crate) fn address(&self, name: Name) -> SocketAddr {
        let service = self.ports.iter().find(|(of, _)| *of == name);
        service.map_or(self.listen, |(_, port)| SocketAddr::from((Ipv4Addr::LOCALHOST, *port)))
    }

    /// Where a process says how it is.
    pub(crate) fn health(&self, name: Name) -> (SocketAddr, &'static str) {
        match name {
            Name::Gateway => (reachable(self.admin_listen), "/livez"),
            service => (self.address(service), "/health"),
        }
    }

    pub(crate) fn gateway_url(&self) -> String {
        format!("http://{}", reachable(self.listen))
    }

    pub(crate) fn admin_url(&self) -> String {
        format!("http://{}", reachable(self.admin_listen))
    }

    /// One line that names every address that is taken, with what to do.
    pub(crate) fn check_free(&self, names: &[Name]) -> Result<(), String> {
        let mut busy = Vec::new();
        for name in names {
            let addresses = match name {
                Name::Gateway => vec![("gateway", self.listen), ("admin", self.admin_listen)],
                service => vec![(service.text(), self.address(*service))],
            };
            for (role, address) in addresses {
                if let Err(error) = TcpListener::bind(address) {
                    busy.push(format!(
                        "port {} on {} ({role}): {error}",
                        address.port(),
                        address.ip()
                    ));
                }
            }
        }
        if busy.is_empty() { Ok(()) } else { Err(format!("can't listen on {}", busy.join("; "))) }
    }

    /// What every child is told about the others, in the names that the config files use.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("PORTCULLIS_LISTEN", self.listen.to_string()),
            ("PORTCULLIS_ADMIN_LISTEN", self.admin_listen.to_string()),
            ("GATEWAY_URL", self.gateway_url()),
            ("PORTCULLIS_DATA_DIR", self.data_dir.display().to_string()),
        ];
        let keys =
            ["AUTH_PORT", "SENSOR_PORT", "KAFKA_PRODUCER_PORT", "ORDERS_PORT", "CONTROL_PORT"];
        variables.extend(keys.into_iter().zip(self.ports.iter().map(|(_, port)| port.to_string())));
        variables
    }
}

/// The launcher is always run from the workspace that built it.
fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_owned()
}

/// A wildcard address can be listened on but not called.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        (Ipv4Addr::LOCALHOST, address.port()).into()
    } else {
        address
    }
}

fn address(key: &str, value: Option<String>, default_port: u16) -> Result<SocketAddr, String> {
    let Some(text) = value.filter(|text| !text.is_empty()) else {
        return Ok((Ipv4Addr::LOCALHOST, default_port).into());
    };
    let address: Option<SocketAddr> = text.parse().ok();
    // Port 0 would give every process another idea of where the others are.
    address
        .filter(|address| address.port() > 0)
        .ok_or_else(|| format!("{key} is {text:?}, which is not ADDRESS:PORT"))
}

fn port(key: &str, value: Option<String>, default: u16) -> Result<u16, String> {
    let Some(text) = value.filter(|text| !text.is_empty()) else { return Ok(default) };
    let port: Option<u16> = text.parse().ok();
    port.filter(|port| *port > 0)
        .ok_or_else(|| format!("{key} is {text:?}, which is not a port from 1 to 65535"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(variables: &[(&str, &str)]) -> Result<Places, String> {
        Places::from_environment(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_an_environment_everything_is_where_the_contract_says() {
        let places = places(&[]).unwrap();
        let addresses = Name::ALL.map(|name| places.address(name).to_string());
        let expected = [8101, 8102, 8103, 8104, 8105, 8000].map(|port| format!("127.0.0.1:{port}"));
        assert_eq!(addresses, expected);
        assert_eq!(places.admin_url(), "http://127.0.0.1:8001");
        assert!(places.data_dir.ends_with("var/demo"));
        assert!(places.workspace.join("Cargo.lock").exists());
    }

    #[test]
    fn the_environment_moves_everything() {
        let places = places(&[
            ("AUTH_PORT", "9101"),
            ("PORTCULLIS_LISTEN", "0.0.0.0:9000"),
            ("PORTCULLIS_DATA_DIR", "here"),
        ]);
        let places = places.unwrap();
        assert_eq!(places.address(Name::Auth).port(), 9101);
        assert_eq!(places.gateway_url(), "http://127.0.0.1:9000");
        assert!(places.data_dir.is_absolute() && places.data_dir.ends_with("here"));
        assert!(places.environment().contains(&("PORTCULLIS_LISTEN", "0.0.0.0:9000".to_owned())));
        assert!(places.environment().contains(&("AUTH_PORT", "9101".to_owned())));
    }

    #[test]
    fn a_variable_that_makes_no_sense_is_named() {
        for (key, value) in
            [("AUTH_PORT", "0"), ("ORDERS_PORT", "many"), ("PORTCULLIS_LISTEN", "8000")]
        {
            assert!(places(&[(key, value)]).unwrap_err().starts_with(key), "{key}");
        }
    }

    #[test]
    fn a_taken_address_is_named_with_its_port_and_owner() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let places = places(&[("ORDERS_PORT", &port.to_string())]).unwrap();
        let fault = places.check_free(&[Name::Orders]).unwrap_err();
        assert!(
            fault.starts_with(&format!("can't listen on port {port} on 127.0.0.1 (orders)")),
            "{fault}"
        );
        drop(taken);
        assert_eq!(places.check_free(&[Name::Orders]), Ok(()));
    }
}
