//! What an operator does with a running gateway: look, kill, restore.
//!
//! The admin listener is found without being named, from the configuration that `run` would take. One that nobody named, and
//! that is missing or at fault, must not keep anybody from killing: then the usual address is tried, and that is said. One
//! that was named stands for a certain gateway, and to kill at another would be worse than not to kill.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::SignedDuration;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::client::Client;
use super::{ConfigFile, Failure, complain, say};

const USUAL_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8001);

#[derive(Debug, Subcommand)]
pub(super) enum Operation {
    /// Show what is off and which circuits are not closed
    Status(Gate),
    /// Turn a feature off
    Kill {
        feature: String,
        /// Why; the log and the audit keep it
        #[arg(long)]
        reason: String,
        /// Turn it on again by itself after this time, such as 30m or 2h
        #[arg(long = "for", value_name = "TIME", value_parser = minutes)]
        lasting: Option<u64>,
        #[command(flatten)]
        hand: Hand,
    },
    /// Turn a feature on again
    Restore {
        feature: String,
        /// Why; the log and the audit keep it
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        hand: Hand,
    },
    /// End with 0 if the gateway takes traffic, else with 1; for container health checks
    Healthcheck(Gate),
}

/// Which gateway, and by what right.
#[derive(Debug, Args)]
pub(super) struct Gate {
    /// The admin listener; else the one of the configuration
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    admin: Option<String>,
    #[command(flatten)]
    file: ConfigFile,
    /// The key for the admin API
    #[arg(long, env = "API_KEY", hide_env_values = true)]
    key: Option<String>,
}

/// Who turns the switch, and where.
#[derive(Debug, Args)]
pub(super) struct Hand {
    /// Who does it
    #[arg(long, env = "USER")]
    by: Option<String>,
    #[command(flatten)]
    gate: Gate,
}

impl Operation {
    pub(super) fn execute(self) -> Result<(), Failure> {
        match self {
            Self::Status(gate) => status(&gate.client()?),
            Self::Kill { feature, reason, lasting, hand } => {
                flip(&hand, &feature, false, &reason, lasting)
            }
            Self::Restore { feature, reason, hand } => flip(&hand, &feature, true, &reason, None),
            Self::Healthcheck(gate) => gate.client()?.get("/readyz").map(|_| ()),
        }
    }
}

impl Gate {
    fn client(&self) -> Result<Client, Failure> {
        let (gateway, addresses) = match &self.admin {
            Some(named) => (named.clone(), resolved(named)?),
            None => {
                let address = reachable(self.configured()?);
                (address.to_string(), vec![address])
            }
        };
        let key = self.key.clone().filter(|key| !key.is_empty());
        Ok(Client { gateway, addresses, key })
    }

    /// The admin listener of the configuration.
    fn configured(&self) -> Result<SocketAddr, Failure> {
        match self.file.load() {
            Ok(config) => Ok(config.admin.listen),
            Err(failure) if self.file.config.is_some() => Err(failure),
            Err(failure) => {
                complain(&instead(&failure));
                Ok(USUAL_ADDRESS)
            }
        }
    }
}

/// What is told when the usual address stands in for a configuration that nobody named.
fn instead(why: &Failure) -> String {
    format!(
        "{}portcullis: so the gateway is asked at its usual address, {USUAL_ADDRESS}\n",
        why.message
    )
}

/// Only whether it looks like one: a name that nobody knows is no fault of usage.
fn host_and_port(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("write a host and a port, such as localhost:8001".to_owned()),
    }
}

fn resolved(named: &str) -> Result<Vec<SocketAddr>, Failure> {
    let unknown = |why: &dyn Display| Failure::input(format_args!("can't find {named}: {why}"));
    let found = named.to_socket_addrs().map_err(|error| unknown(&error))?;
    let addresses: Vec<_> = found.map(reachable).collect();
    if addresses.is_empty() { Err(unknown(&"it has no address")) } else { Ok(addresses) }
}

/// A listener on all addresses is reached on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn flip(
    hand: &Hand,
    feature: &str,
    enabled: bool,
    reason: &str,
    lasting: Option<u64>,
) -> Result<(), Failure> {
    let mut body = json!({ "enabled": enabled, "reason": reason });
    if let Some(by) = &hand.by {
        body["updated_by"] = by.as_str().into();
    }
    if let Some(minutes) = lasting {
        body["duration_minutes"] = minutes.into();
    }
    let path = format!("/admin/killswitch/{}", utf8_percent_encode(feature, NON_ALPHANUMERIC));
    let answer = hand.gate.client()?.post(&path, &body)?;
    let state = if enabled { "on" } else { "off" };
    let until = answer["expires_at"].as_str().map(|at| format!(" until {at}")).unwrap_or_default();
    let saved =
        if answer["saved"] == true { "" } else { "; NOT SAVED yet: a restart now would lose it" };
    say(&format!("{feature} is {state}{until}, revision {}{saved}\n", answer["revision"]));
    Ok(())
}

fn status(client: &Client) -> Result<(), Failure> {
    let health = client.get("/health")?;
    let switches = client.get("/admin/killswitches")?;
    say(&report(&health, &switches));
    Ok(())
}

fn report(health: &Value, switches: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let (status, store) = (word(&health["status"]), word(&health["store"]["status"]));
    let mut text = format!("{status}, revision {}, store {store}\n", switches["revision"]);
    for (feature, state) in
        members(&switches["killswitches"]).filter(|(_, state)| state["enabled"] == false)
    {
        let (reason, by) = (word(&state["reason"]), word(&state["updated_by"]));
        let until =
            state["expires_at"].as_str().map(|at| format!(", until {at}")).unwrap_or_default();
        text += &format!("off: {feature} by {by}{until} - {reason}\n");
    }
    for (name, breaker) in
        members(&health["circuit_breakers"]).filter(|(_, breaker)| breaker["state"] != "closed")
    {
        text += &format!("circuit {}: {name}\n", word(&breaker["state"]));
    }
    text
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// `30m`, `2h` or `1h30m` in minutes, rounded up: the admin API knows no shorter kills.
fn minutes(text: &str) -> Result<u64, String> {
    let lasts: SignedDuration =
        text.parse().map_err(|_| "write a time such as 30m, 2h or 1d".to_owned())?;
    let lasts =
        Duration::try_from(lasts).map_err(|_| "a kill can't end before it begins".to_owned())?;
    match lasts.as_secs().div_ceil(60) {
        0 => Err("a kill lasts for a minute at least".to_owned()),
        minutes => Ok(minutes),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::path::Path;
    use std::thread;

    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(minutes("30m"), Ok(30));
        assert_eq!(minutes("1h30m"), Ok(90));
        assert_eq!(minutes("90s"), Ok(2));
        assert!(minutes("0s").is_err() && minutes("-5m").is_err() && minutes("soon").is_err());
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_on_loopback() {
        assert_eq!(reachable("0.0.0.0:9".parse().unwrap()), "127.0.0.1:9".parse().unwrap());
        assert_eq!(reachable("[::]:9".parse().unwrap()), "[::1]:9".parse().unwrap());
        assert_eq!(reachable("10.0.0.1:9".parse().unwrap()), "10.0.0.1:9".parse().unwrap());
    }

    fn gate(config: Option<&Path>) -> Gate {
        let file = ConfigFile { config: config.map(Path::to_owned) };
        Gate { admin: None, file, key: None }
    }

    #[test]
    fn a_gateway_is_found_by_name_at_whichever_address_it_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let gateway = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 1024];
            let length = stream.read(&mut head).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ntrue").unwrap();
            String::from_utf8_lossy(&head[..length]).into_owned()
        });
        let admin = host_and_port(&format!("localhost:{port}")).ok();
        let client = Gate { admin, ..gate(None) }.client().unwrap();
        assert_eq!(client.get("/readyz").unwrap(), json!(true));
        let head = gateway.join().unwrap();
        assert!(head.contains(&format!("host: 127.0.0.1:{port}")), "{head}");
    }

    #[test]
    fn a_gateway_is_named_by_host_and_port() {
        for wrong in ["localhost", ":8001", "localhost:", "localhost:http", "localhost:70000"] {
            assert!(host_and_port(wrong).is_err(), "{wrong}");
        }
        for right in ["localhost:8001", "10.0.0.1:8001", "[::1]:8001"] {
            assert!(host_and_port(right).is_ok(), "{right}");
        }
        // No name server is asked for a name that can't be one.
        let unknown = resolved("no\0host:8001").unwrap_err();
        assert!(unknown.message.contains("can't find no\0host:8001"), "{}", unknown.message);
        assert_eq!(resolved("0.0.0.0:9").unwrap(), ["127.0.0.1:9".parse().unwrap()]);
    }

    #[test]
    fn a_configuration_that_was_named_is_taken_or_refused() {
        let directory = tempfile::tempdir().unwrap();
        let named = |name: &str, text: &str| {
            let file = directory.path().join(name);
            std::fs::write(&file, text).unwrap();
            gate(Some(&file)).configured().map_err(|failure| (failure.code, failure.message))
        };
        let listen = "[admin]\nlisten = \"127.0.0.1:9301\"\n";
        assert_eq!(named("good.toml", listen), Ok("127.0.0.1:9301".parse().unwrap()));
        let (code, faults) = named("bad.toml", "[admin]\nlistn = 1\n").unwrap_err();
        assert_eq!(code, 1);
        assert!(faults.contains("bad.toml:2:1: unknown key `listn`"), "{faults}");

        let missing = gate(Some(&directory.path().join("missing.toml"))).configured().unwrap_err();
        assert_eq!(missing.code, 1);
        assert!(missing.message.contains("missing.toml"), "{}", missing.message);
    }

    #[test]
    fn an_address_that_stands_in_is_named_with_the_reason() {
        let said = instead(&Failure::input("there is no configuration"));
        assert_eq!(
            said,
            "portcullis: there is no configuration\nportcullis: so the gateway is asked at its usual address, 127.0.0.1:8001\n"
        );
    }

    #[test]
    fn the_report_names_what_is_off_and_what_is_open() {
        let health = json!({
            "status": "degraded", "store": { "status": "ok" },
            "circuit_breakers": { "ControlAPI": { "state": "open" }, "orders": { "state": "closed" } },
        });
        let switches = json!({ "revision": 7, "killswitches": {
            "reports": { "enabled": false, "reason": "slow", "updated_by": "ada", "expires_at": null },
            "orders": { "enabled": true },
        }});
        let text = "degraded, revision 7, store ok\noff: reports by ada - slow\ncircuit open: ControlAPI\n";
        assert_eq!(report(&health, &switches), text);
    }
}
