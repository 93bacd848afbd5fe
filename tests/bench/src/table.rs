//! The rows of all rounds, and the table of their medians as Markdown.

use crate::candidates::Candidate;
use crate::median::median;
use crate::options::Options;
use crate::round::Measured;

/// The candidate that the others are compared with.
const REFERENCE: &str = "nginx";

pub(crate) struct Rows {
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    /// One entry for each round.
    rounds: Vec<Result<Measured, String>>,
}

impl Rows {
    pub(crate) fn new(candidates: &[Candidate]) -> Self {
        Self {
            rows: candidates
                .iter()
                .map(|candidate| Row { name: candidate.name, rounds: Vec::new() })
                .collect(),
        }
    }

    pub(crate) fn add(&mut self, name: &str, measured: Result<Measured, String>) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.name == name) {
            row.rounds.push(measured);
        }
    }

    pub(crate) fn all_valid(&self) -> bool {
        self.rows.iter().all(|row| row.fault().is_none())
    }

    pub(crate) fn markdown(&self, options: &Options) -> String {
        let load = match options.rate {
            None => "as fast as possible".to_owned(),
            Some(rate) => format!("{rate} requests per second"),
        };
        let head = [
            format!("Medians of {} rounds of {} s, 64 connections, {load}; CPU per request.", options.rounds, options.seconds),
            String::new(),
            "| proxy, one worker | user µs | system µs | sum µs | against nginx | requests/s | p50 µs | p99 µs | p99 against nginx | RSS MiB | PSS MiB |".to_owned(),
            "|---|---|---|---|---|---|---|---|---|---|---|".to_owned(),
        ];
        let lines = self.rows.iter().map(|row| self.line(row));
        head.into_iter().chain(lines).collect::<Vec<_>>().join("\n")
    }

    fn line(&self, row: &Row) -> String {
        if let Some(fault) = row.fault() {
            return format!("| {} | invalid: {fault} | | | | | | | | | |", row.name);
        }
        let cell = |digits: usize, of: fn(&Measured) -> f64| {
            format!("{:.digits$}", median(row.good().map(of)))
        };
        let cells = [
            cell(1, |measured| measured.user_micros),
            cell(1, |measured| measured.system_micros),
            cell(1, sum),
            self.ratio(row, sum),
            cell(0, |measured| measured.load.per_second),
            cell(0, |measured| measured.load.p50_micros),
            cell(0, |measured| measured.load.p99_micros),
            self.ratio(row, |measured| measured.load.p99_micros),
            cell(1, |measured| measured.memory.resident as f64 / 1024.0),
            cell(1, |measured| measured.memory.proportional as f64 / 1024.0),
        ];
        format!("| {} | {} |", row.name, cells.join(" | "))
    }

    /// The median of the ratios within each round, so that a slow minute does not count against whoever had it.
    fn ratio(&self, row: &Row, of: fn(&Measured) -> f64) -> String {
        let reference = self.rows.iter().find(|row| row.name == REFERENCE);
        match reference.filter(|row| row.fault().is_none()) {
            None => "–".to_owned(),
            Some(reference) => {
                let pairs = row.good().zip(reference.good());
                format!("{:.2}", median(pairs.map(|(one, reference)| of(one) / of(reference))))
            }
        }
    }
}

impl Row {
    fn good(&self) -> impl Iterator<Item = &Measured> {
        self.rounds.iter().flatten()
    }

    fn fault(&self) -> Option<String> {
        self.rounds.iter().find_map(|round| match round {
            Err(fault) => Some(fault.clone()),
            Ok(measured) => {
                (!measured.load.faults.is_empty()).then(|| measured.load.faults.join("; "))
            }
        })
    }
}

fn sum(measured: &Measured) -> f64 {
    measured.user_micros + measured.system_micros
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::Memory;
    use crate::candidates;
    use crate::load::Load;

    fn measured(user_micros: f64, faults: &[&str]) -> Measured {
        let faults = faults.iter().map(ToString::to_string).collect();
        Measured {
            user_micros,
            system_micros: 0.0,
            memory: Memory::default(),
            load: Load { faults, ..Load::default() },
        }
    }

    fn rows() -> Rows {
        let mut rows = Rows::new(&candidates::all()[..2]);
        for (nginx, haproxy) in [(10.0, 20.0), (20.0, 40.0), (10.0, 90.0)] {
            rows.add("nginx", Ok(measured(nginx, &[])));
            rows.add("haproxy", Ok(measured(haproxy, &[])));
        }
        rows
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let table = rows().markdown(&Options::parse(std::iter::empty()).unwrap());
        assert!(table.contains("| haproxy | 40.0 | 0.0 | 40.0 | 2.00 |"), "{table}");
    }

    #[test]
    fn one_bad_answer_makes_the_row_invalid() {
        let mut rows = rows();
        assert!(rows.all_valid());
        rows.add("haproxy", Ok(measured(1.0, &["12 answers were not 2xx"])));
        assert!(!rows.all_valid());
        let table = rows.markdown(&Options::parse(std::iter::empty()).unwrap());
        assert!(table.contains("| haproxy | invalid: 12 answers were not 2xx |"), "{table}");
    }
}
