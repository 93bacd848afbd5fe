//! Connections that were ended because their clients sent floods: counted, and said without a flood of lines.

use std::{
    fmt::Write,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::glitches::Flood;
use crate::telemetry::names;

/// The counters of all workers. A flood is rare enough to share them.
#[derive(Debug, Default)]
pub struct Floods([AtomicU64; Flood::ALL.len()]);

impl Floods {
    /// A connection is ended. Whoever floods comes back, so a line is only written when their number has doubled.
    pub(super) fn count(&self, flood: Flood, client: IpAddr) {
        self.0[flood as usize].fetch_add(1, Relaxed);
        let total: u64 = self.0.iter().map(|count| count.load(Relaxed)).sum();
        if total.is_power_of_two() {
            tracing::warn!(%client, flood = flood.word(), total, "ended an HTTP/2 connection that only made work");
        }
    }

    /// The counters, as Prometheus reads them.
    pub fn write_metrics(&self, out: &mut String) {
        let name = names::HTTP2_FLOODS;
        let _ =
            writeln!(out, "# HELP {name} HTTP/2 connections ended because they only made work.");
        let _ = writeln!(out, "# TYPE {name} counter");
        for flood in Flood::ALL {
            let count = self.0[flood as usize].load(Relaxed);
            let _ = writeln!(out, r#"{name}{{flood="{}"}} {count}"#, flood.word());
        }
    }
}
