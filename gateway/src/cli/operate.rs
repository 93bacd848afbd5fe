//! What an operator does with a running gateway: look, kill, restore.
//!
//! The admin listener is found without being named, from the configuration that `run` would take; and a configuration that
//! has a fault must not keep anybody from killing, so then its usual address is tried.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::SignedDuration;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::client::Client;
use super::{ConfigFile, Failure, say};

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
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<SocketAddr>,
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
            Self::Status(gate) => status(&gate.client()),
            Self::Kill { feature, reason, lasting, hand } => {
                flip(&hand, &feature, false, &reason, lasting)
            }
            Self::Restore { feature, reason, hand } => flip(&hand, &feature, true, &reason, None),
            Self::Healthcheck(gate) => gate.client().get("/readyz").map(|_| ()),
        }
    }
}

impl Gate {
    fn client(&self) -> Client {
        let configured = || self.file.load().ok().map(|config| config.admin.listen);
        let address = self.admin.or_else(configured).unwrap_or(USUAL_ADDRESS);
        Client { address: reachable(address), key: self.key.clone().filter(|key| !key.is_empty()) }
    }
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
    let answer = hand.gate.client().post(&path, &body)?;
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
