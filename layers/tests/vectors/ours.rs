//! Our core, as the vectors see it.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use portcullis::{
    circuit_breaker::{
        Action, Admission, Backoff, FleetVerdict, HalfOpenMax, Judges, Late, LostProbe, Minimum,
        Objective, Order, Ratio, Sample, Settings, Slow, Span, State, Then, Threshold, Ticket,
        Verdict, core::Core,
    },
    outcome::{Outcome, Weight},
};

use crate::vectors::{Ending, Event, Subject, Vector, Word, duration, number};

pub(crate) struct Ours {
    core: Core,
    settings: Settings,
    began: Instant,
    now: Instant,
    tickets: HashMap<String, Ticket>,
}

impl Ours {
    pub(crate) fn new(vector: &Vector) -> Self {
        let settings = applied(Settings::default(), &vector.with);
        let began = Instant::now();
        Self {
            core: Core::new(settings, 7, began),
            settings,
            began,
            now: began,
            tickets: HashMap::new(),
        }
    }
}

/// The settings with these in their place.
pub(crate) fn applied(mut settings: Settings, pairs: &[(String, String)]) -> Settings {
    pairs.iter().for_each(|(key, value)| apply(&mut settings, key, value));
    settings
}

fn apply(s: &mut Settings, key: &str, value: &str) {
    let count = |text: &str| NonZeroU32::new(number(text)).expect("more than nothing");
    let percent =
        |text: &str| Ratio::percent(number(text.strip_suffix('%').expect("a percentage")));
    let both = || value.split_once('/').expect("two values with / between them");
    match key {
        "run" => s.consecutive_failures = (value != "off").then(|| count(value)),
        "rate" => s.failure_rate = Some(percent(value)),
        "slow" => s.slow = Some(Slow { longer_than: duration(both().0), rate: percent(both().1) }),
        "objective" => {
            let (failures, z) = both();
            s.objective = Some(Objective { failures: percent(failures), z_hundredths: number(z) });
        }
        "calls" => s.span = Span::Calls(count(value)),
        "time" => s.span = Span::Time { length: duration(both().0), buckets: count(both().1) },
        "minimum" => s.minimum_calls = count(value),
        "retry_after_max" => s.retry_after_max = Some(duration(value)),
        "open_wait" => s.open_wait = duration(value),
        "growth" => s.backoff = Backoff { growth_hundredths: number(value), ..s.backoff },
        "wait_max" => s.backoff = Backoff { wait_max: duration(value), ..s.backoff },
        "probes" => s.half_open_probes = count(value),
        "probe_timeout" => s.probe_timeout = duration(value),
        "lost" => {
            s.lost_probe = if value == "ignored" { LostProbe::Ignored } else { LostProbe::Failure }
        }
        "half_open_max" => {
            let then = if both().1 == "open" { Then::Opens } else { Then::Closes };
            s.half_open_max = Some(HalfOpenMax { after: duration(both().0), then });
        }
        "automatic" => s.automatic_half_open = value == "yes",
        "initial" => s.initial = if value == "open" { State::Open } else { State::Closed },
        "threshold" => {
            s.profile.threshold =
                if value == "passed" { Threshold::Passed } else { Threshold::Reached }
        }
        "judges" => {
            s.profile.judges =
                if value == "failures" { Judges::FailuresOnly } else { Judges::EachResult }
        }
        "minimum_at" => {
            s.profile.minimum = if value == "passed" { Minimum::Passed } else { Minimum::Reached }
        }
        "late" => s.profile.late = if value == "dropped" { Late::Dropped } else { Late::Recorded },
        "verdict" => {
            let parts: Vec<&str> = value.split('/').collect();
            s.verdict = match parts[..] {
                ["run", run] => Verdict::Run(count(run)),
                ["rate", calls, failures] => {
                    Verdict::Rate { calls: count(calls), failures: percent(failures) }
                }
                _ => panic!("no such verdict: {value}"),
            };
        }
        _ => panic!("no such setting: {key}"),
    }
}

const fn outcome(word: Word) -> Outcome {
    match word {
        Word::Ok => Outcome::Success,
        Word::Fail => Outcome::Failure,
        Word::Ignored => Outcome::Ignored,
        Word::Overload(retry_after) => Outcome::Overload { retry_after },
        Word::Weighed(weight) => Outcome::Weighed(Weight::hundredths(weight)),
    }
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

impl Subject for Ours {
    fn at(&mut self, now: Duration) {
        self.now = self.began + now;
    }

    fn start(&mut self, name: &str) -> Result<bool, String> {
        match self.core.admit(self.now) {
            Admission::Admitted(ticket) => {
                self.tickets.insert(name.to_owned(), ticket);
                Ok(true)
            }
            Admission::Refused(_) => Ok(false),
        }
    }

    fn end(&mut self, name: &str, ending: Ending) -> Result<(), String> {
        let ticket = self.tickets.remove(name).ok_or("it was never started")?;
        self.core.settle(ticket, outcome(ending.word), ending.took, self.now);
        Ok(())
    }

    fn drop_call(&mut self, name: &str) -> Result<(), String> {
        self.end(name, Ending { word: Word::Ignored, took: Duration::ZERO })
    }

    fn event(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Order { word, lasts } => {
                let action = match word.as_str() {
                    "reset" => Action::Reset,
                    "force-open" => Action::ForceOpen,
                    "disable" => Action::Disable,
                    "shadow" => Action::Shadow,
                    _ => Action::OpenFor(lasts.unwrap_or_default()),
                };
                self.core.order(Order { lasts: *lasts, ..Order::new(action) }, self.now);
            }
            Event::Set(pairs) => {
                self.settings = applied(self.settings, pairs);
                self.core.reconfigure(self.settings, self.now);
            }
            Event::Witness { calls, failures } => {
                self.core
                    .witness(Sample { calls: *calls, failed: failures * 100, slow: 0 }, self.now);
            }
            Event::FleetOpen(wait) => self.core.follow(FleetVerdict::Open(*wait), self.now),
            Event::FleetClose => self.core.follow(FleetVerdict::Closed, self.now),
            _ => self.core.tick(self.now),
        }
        Ok(())
    }

    fn state(&mut self) -> Result<String, String> {
        Ok(self.core.state().as_str().to_owned())
    }

    fn check(&mut self, key: &str) -> Result<String, String> {
        Ok(match key {
            "retry" => seconds(self.core.retry_after(self.now).unwrap_or_default()),
            "probes" => self.core.probes().to_string(),
            "run" => self.core.run().to_string(),
            "rejected" => self.core.totals().rejected.to_string(),
            "would" => self.core.totals().would_reject.to_string(),
            "window" => {
                let window = self.core.window(self.now);
                format!("{}/{}", window.calls, window.failures())
            }
            _ => return Err(format!("no such check: {key}")),
        })
    }
}
