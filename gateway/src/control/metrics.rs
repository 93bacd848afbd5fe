//! `/metrics`: the figures of the control plane in Prometheus' text format, followed by everybody else's.
//!
//! Every label comes from the configuration, so that no request can add a series.

use std::fmt::{Display, Write};
use std::sync::Arc;
use std::time::Instant;

use portcullis::auto_disable::Meter;
use portcullis::view::Subscriber;

use super::breakers::NamedBreaker;
use super::ledger::Ledger;

/// What `/metrics` is served as.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Somebody with figures of their own.
pub trait Exposition: Send + Sync {
    /// Appends whole metric families in Prometheus' text format.
    fn write(&self, out: &mut String);
}

/// The control plane's own figures.
pub struct ControlFigures {
    pub subscriber: Subscriber,
    pub breakers: Vec<NamedBreaker>,
    pub meters: Vec<Meter>,
    pub ledger: Arc<Ledger>,
    pub started: Instant,
}

impl Exposition for ControlFigures {
    fn write(&self, out: &mut String) {
        self.breakers(out);
        self.switchboard(out);
        self.meters(out);
        self.store(out);
        self.process(out);
    }
}

impl ControlFigures {
    fn breakers(&self, out: &mut String) {
        let all: Vec<_> =
            self.breakers.iter().map(|named| (named, named.breaker.snapshot())).collect();
        let mut write =
            |family: Family, value: &dyn Fn(&portcullis::circuit_breaker::Snapshot) -> u64| {
                family.head(out);
                for (named, snapshot) in &all {
                    family.sample(
                        out,
                        &[("service", named.breaker.name()), ("upstream", &named.upstream)],
                        value(snapshot),
                    );
                }
            };
        let state = "0 closed, 1 open, 2 half-open, 3 forced open, 4 disabled, 5 shadow";
        write(gauge("circuit_breaker_state", state), &|snapshot| u64::from(snapshot.state.code()));
        let failures = counter("circuit_breaker_failures_total", "Calls that failed");
        write(failures, &|snapshot| snapshot.failures_total);
        let calls =
            counter("portcullis_circuit_breaker_calls_total", "Calls that the breaker let through");
        write(calls, &|snapshot| snapshot.calls_total);
        let rejected =
            counter("portcullis_circuit_breaker_rejected_total", "Calls that the breaker refused");
        write(rejected, &|snapshot| snapshot.rejected_total);
        let slow = counter("portcullis_circuit_breaker_slow_total", "Calls that took too long");
        write(slow, &|snapshot| snapshot.totals.slow);
        let lost = counter(
            "portcullis_circuit_breaker_lost_probes_total",
            "Probes that had no answer in time",
        );
        write(lost, &|snapshot| snapshot.totals.lost_probes);
        let would = counter(
            "portcullis_circuit_breaker_would_reject_total",
            "Calls that went through in shadow and would have been refused",
        );
        write(would, &|snapshot| snapshot.totals.would_reject);
    }

    fn switchboard(&self, out: &mut String) {
        let view = self.subscriber.pin();
        let enabled =
            gauge("portcullis_killswitch_enabled", "1 while the feature is on, 0 while it is off");
        enabled.head(out);
        for (id, feature, _) in view.features() {
            enabled.sample(out, &[("feature", &feature.name)], u8::from(!view.is_off(id)));
        }
        gauge("portcullis_switchboard_revision", "The number of the last flip that is kept")
            .single(out, view.revision());
    }

    fn meters(&self, out: &mut String) {
        let errors = gauge(
            "portcullis_auto_disable_errors",
            "Errors within the window of the feature's meter",
        );
        errors.head(out);
        for meter in &self.meters {
            errors.sample(out, &[("feature", meter.feature())], meter.snapshot().errors);
        }
        let lost = counter(
            "portcullis_auto_disable_lost_total",
            "Trips that were given up because too many waited",
        );
        lost.single(out, self.ledger.proposals_lost());
    }

    fn store(&self, out: &mut String) {
        let ledger = &self.ledger;
        counter("portcullis_store_saves_total", "Switchboards that the store kept")
            .single(out, ledger.saves());
        let failures =
            counter("portcullis_store_failures_total", "Attempts to keep something that failed");
        failures.single(out, ledger.save_failures());
        let available = gauge("portcullis_store_available", "1 unless a shared store is away");
        available.single(out, u8::from(!ledger.is_away()));
        let losses = counter(
            "portcullis_store_losses_total",
            "Times that the store lost something and was filled again",
        );
        losses.single(out, ledger.losses());
        let unsaved =
            gauge("portcullis_store_unsaved", "Features whose state is in force, but not kept");
        unsaved.single(out, ledger.pending().len());
        let backlog = gauge("portcullis_audit_backlog", "Audit entries that wait for the store");
        backlog.single(out, ledger.audit_backlog());
        counter("portcullis_audit_lost_total", "Audit entries that were given up")
            .single(out, ledger.audit_lost());
    }

    fn process(&self, out: &mut String) {
        let build = gauge("portcullis_build_info", "Always 1; the label tells the version");
        build.head(out);
        build.sample(out, &[("version", env!("CARGO_PKG_VERSION"))], 1);
        let uptime = gauge("process_uptime_seconds", "Since the start of the process");
        uptime.single(out, format_args!("{:.3}", self.started.elapsed().as_secs_f64()));
    }
}

/// A metric family: its name, what it means, and its type.
pub struct Family {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
}

/// A family whose value goes up and down.
pub const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: "gauge" }
}

/// A family whose value only grows.
pub const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: "counter" }
}

impl Family {
    /// The two lines before its samples.
    pub fn head(&self, out: &mut String) {
        let Self { name, help, kind } = self;
        write(out, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// One sample.
    pub fn sample(&self, out: &mut String, labels: &[(&str, &str)], value: impl Display) {
        out.push_str(self.name);
        for (index, (label, text)) in labels.iter().enumerate() {
            write(out, format_args!("{}{label}=\"", if index == 0 { '{' } else { ',' }));
            text.chars().for_each(|letter| escape(out, letter));
            out.push('"');
        }
        write(out, format_args!("{} {value}\n", if labels.is_empty() { "" } else { "}" }));
    }

    /// A family of one sample without labels.
    pub fn single(&self, out: &mut String, value: impl Display) {
        self.head(out);
        self.sample(out, &[], value);
    }
}

fn escape(out: &mut String, letter: char) {
    match letter {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        letter => out.push(letter),
    }
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a string can't fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_its_labels_escaped() {
        let mut out = String::new();
        gauge("up", "").sample(&mut out, &[("name", "a\"b\\c\nd"), ("other", "x")], 1);
        assert_eq!(out, "up{name=\"a\\\"b\\\\c\\nd\",other=\"x\"} 1\n");
    }

    #[test]
    fn a_family_has_its_help_and_type_before_its_samples() {
        let mut out = String::new();
        counter("saves_total", "Saves").single(&mut out, 3);
        assert_eq!(out, "# HELP saves_total Saves\n# TYPE saves_total counter\nsaves_total 3\n");
    }
}
