//! `--flat`: whether a request costs the same when there is much of everything.
//!
//! The gateway is measured beside itself on the route with all four layers: with ten routes, features and flags and 64 idle
//! connections, and then with ten thousand of one of them, and of all. What decides is instructions, which callgrind counts
//! and a busy machine doesn't change; CPU time under full load stands beside it, as medians of ratios within a round.

use crate::accounting;
use crate::callgrind;
use crate::candidates::{self, Candidate};
use crate::client::Client;
use crate::load::Sending;
use crate::median::median;
use crate::options::Options;
use crate::probe;
use crate::process::{PROXY_CORE, Running};
use crate::workplace::Workplace;
use std::fmt::Write;
use std::fs;

const FEW: Scale = Scale { routes: 10, features: 10, flags: 10, idle: 64 };
const MANY: usize = 10_000;

/// How much more a request may cost.
const RATIO_MAX: f64 = 1.05;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    routes: usize,
    features: usize,
    flags: usize,
    /// Connections that had one answer and rest.
    idle: usize,
}

/// What there is much of, and how it is then.
pub(crate) fn rows() -> [(&'static str, Scale); 5] {
    [
        ("routes", Scale { routes: MANY, ..FEW }),
        ("features", Scale { features: MANY, ..FEW }),
        ("flags", Scale { flags: MANY, ..FEW }),
        ("idle-connections", Scale { idle: MANY, ..FEW }),
        ("all", Scale { routes: MANY, features: MANY, flags: MANY, idle: MANY }),
    ]
}

/// Prints the table, and answers whether every cost is flat.
pub(crate) fn measure(options: &Options, place: &Workplace) -> Result<bool, String> {
    let base = fs::read_to_string(place.root.join("config/bench.toml"))
        .map_err(|fault| format!("config/bench.toml: {fault}"))?;
    let rows: Vec<_> = rows().into_iter().filter(|(name, _)| options.wants(name)).collect();
    eprintln!("counting: few");
    let few = callgrind::per_request(&FEW.counted(&base), FEW.idle, place)?;
    let mut lines = Vec::new();
    for (name, scale) in &rows {
        eprintln!("counting: many {name}");
        let many = callgrind::per_request(&scale.counted(&base), scale.idle, place)?;
        lines.push(Line { name, instructions: (few, many), micros: Vec::new() });
    }
    for round in 1..=options.rounds.get() {
        eprintln!("round {round} of {}", options.rounds);
        let few = cpu(FEW, &base, options, place)?;
        for (line, (_, scale)) in lines.iter_mut().zip(&rows) {
            line.micros.push((few, cpu(*scale, &base, options, place)?));
        }
    }
    println!(
        "With ten routes, features and flags and 64 idle connections, and with ten thousand of what the row names.\n\n\
         | ten thousand | instructions per request, few | many | ratio | CPU µs, few | many | ratio |\n\
         |---|---|---|---|---|---|---|"
    );
    lines.iter().for_each(|line| println!("{}", line.markdown()));
    Ok(lines.iter().all(|line| line.ratio() <= RATIO_MAX))
}

struct Line {
    name: &'static str,
    instructions: (f64, f64),
    /// For each round.
    micros: Vec<(f64, f64)>,
}

impl Line {
    fn ratio(&self) -> f64 {
        self.instructions.1 / self.instructions.0
    }

    fn markdown(&self) -> String {
        let cpu = |of: fn(&(f64, f64)) -> f64| median(self.micros.iter().map(of));
        format!(
            "| {} | {:.0} | {:.0} | {:.3} | {:.1} | {:.1} | {:.2} |",
            self.name,
            self.instructions.0,
            self.instructions.1,
            self.ratio(),
            cpu(|(few, _)| *few),
            cpu(|(_, many)| *many),
            cpu(|(few, many)| many / few),
        )
    }
}

impl Scale {
    fn candidate(self, base: &str) -> Candidate {
        Candidate {
            name: "portcullis-flat",
            arguments: &["run", "--config", "{dir}/gateway.toml"],
            files: vec![("gateway.toml", self.configuration(base))],
            ..candidates::portcullis_layers()
        }
    }

    fn counted(self, base: &str) -> Candidate {
        Candidate { under: callgrind::UNDER, ..self.candidate(base) }
    }

    /// The configuration of all measurements, with so much beside what its requests meet.
    fn configuration(self, base: &str) -> String {
        let mut text = base.to_owned();
        let write = |text: &mut String, lines: std::fmt::Arguments<'_>| {
            text.write_fmt(lines).expect("a string takes everything");
        };
        for index in 0..self.features {
            write(&mut text, format_args!("\n[features.other-{index}]\ncritical = false\n"));
        }
        for index in 0..self.flags {
            write(
                &mut text,
                format_args!(
                    "\n[flags.other-{index}]\nenabled = true\nrollout_percentage = 50.0\n"
                ),
            );
        }
        for index in 0..self.routes {
            write(
                &mut text,
                format_args!(
                    "\n[[routes]]\nname = \"other-{index}\"\npath = \"/other-{index}/{{id}}\"\nupstream = \"bench\"\n"
                ),
            );
        }
        text
    }
}

/// CPU microseconds of the gateway per request, under full load.
fn cpu(scale: Scale, base: &str, options: &Options, place: &Workplace) -> Result<f64, String> {
    let candidate = scale.candidate(base);
    let mut running = Running::start(&candidate, place, PROXY_CORE)?;
    probe::until_it_answers(&mut running, &candidate)?;
    let _idle = Client::several(&candidate, scale.idle)?;
    let url = format!("http://127.0.0.1:{}{}", candidate.port, candidate.path);
    Sending::start(&url, 1, options, place)?.finish()?;
    let before = accounting::time(running.id());
    let load = Sending::start(&url, options.seconds.get(), options, place)?.finish()?;
    let used = accounting::time(running.id()).since(before);
    match load.faults.is_empty() {
        true => Ok((used.user_micros + used.system_micros) / load.requests),
        false => Err(load.faults.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_what_its_configuration_holds() {
        let scale = Scale { routes: 3, features: 2, flags: 1, idle: 0 };
        let text = scale.configuration("[server]\n");
        let count = |what: &str| text.matches(what).count();
        assert!(text.starts_with("[server]\n"));
        assert_eq!((count("[[routes]]"), count("[features."), count("[flags.")), (3, 2, 1));
    }

    #[test]
    fn a_row_shows_both_ratios() {
        let micros = vec![(10.0, 11.0), (20.0, 20.0), (10.0, 30.0)];
        let line = Line { name: "routes", instructions: (30_000.0, 30_300.0), micros };
        assert_eq!(line.markdown(), "| routes | 30000 | 30300 | 1.010 | 10.0 | 20.0 | 1.10 |");
    }
}
