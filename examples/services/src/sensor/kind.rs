//! The kinds of sensors, and what a plausible reading of each looks like.

use serde::Serialize;

/// One kind of sensor. Readings lie between `low` and `high`; outside the comfortable middle they are a warning.
#[derive(Debug, PartialEq)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    unit: &'static str,
    low: f64,
    high: f64,
}

static KINDS: [Kind; 6] = [
    Kind { name: "temperature", unit: "°C", low: 15.0, high: 30.0 },
    Kind { name: "humidity", unit: "%", low: 30.0, high: 70.0 },
    Kind { name: "pressure", unit: "hPa", low: 980.0, high: 1040.0 },
    Kind { name: "light", unit: "lx", low: 50.0, high: 1000.0 },
    Kind { name: "motion", unit: "events/min", low: 0.0, high: 20.0 },
    Kind { name: "co2", unit: "ppm", low: 400.0, high: 1400.0 },
];

/// What a sensor said.
#[derive(Debug, Serialize)]
pub(super) struct Reading {
    pub(super) value: f64,
    pub(super) unit: &'static str,
    pub(super) verdict: &'static str,
}

impl Kind {
    pub(super) fn named(name: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|kind| kind.name)
    }

    /// The reading at `position`, 0 being the lowest and 1 the highest; chance is the caller's.
    pub(super) fn read(&self, position: f64) -> Reading {
        let value = self.low + (self.high - self.low) * position;
        let verdict = if (0.05..=0.95).contains(&position) { "normal" } else { "warning" };
        Reading { value: (value * 10.0).round() / 10.0, unit: self.unit, verdict }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_kind() {
        for name in Kind::names() {
            assert_eq!(Kind::named(name).map(|kind| kind.name), Some(name));
        }
        assert_eq!(Kind::named("smell"), None);
    }

    #[test]
    fn a_reading_lies_within_its_range() {
        let kind = Kind::named("temperature").unwrap();
        assert_eq!(
            (kind.read(0.0).value, kind.read(0.5).value, kind.read(1.0).value),
            (15.0, 22.5, 30.0)
        );
    }

    #[test]
    fn a_reading_at_the_edge_is_a_warning() {
        let kind = Kind::named("humidity").unwrap();
        assert_eq!((kind.read(0.5).verdict, kind.read(0.99).verdict), ("normal", "warning"));
    }
}
