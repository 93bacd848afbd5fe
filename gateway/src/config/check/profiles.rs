//! The profiles of breakers: which there are, and which stands on which.
//!
//! Three are always there, and a file may change them. Every chain ends with `default`, so one line in its table holds for all
//! breakers that don't say otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use portcullis::circuit_breaker::{self as library, Late, Minimum, Ratio, Settings, Span, State};

use super::{Check, Kind, Site, name};
use crate::config::config::Breaker;
use crate::config::fault::Wrong;
use crate::config::file::{
    self, Count, InitialState, Judges, LateResults, LostProbe, OrOff, Probes, Reach, Seconds, Then,
    Window,
};

/// The profile on which all others stand.
const DEFAULT: &str = "default";

/// The profiles that are always there.
pub(super) const BUILT_IN: [&str; 3] = ["critical", DEFAULT, "optional"];

/// Every profile, with all keys filled in.
pub(super) struct Profiles(BTreeMap<String, file::Breaker>);

impl Profiles {
    /// A profile's table; that of `default` for a name which isn't there, and was reported.
    pub(super) fn table(&self, name: &str) -> file::Breaker {
        self.0.get(name).or_else(|| self.0.get(DEFAULT)).cloned().unwrap_or_default()
    }

    /// The table that says what a table of an upstream doesn't.
    pub(super) fn below(&self, own: &file::Breaker) -> file::Breaker {
        self.table(own.profile.as_deref().unwrap_or(DEFAULT))
    }

    pub(super) fn checked(&self) -> Vec<Breaker> {
        self.0.iter().map(|(name, table)| breaker(name, table)).collect()
    }
}

impl Check<'_, '_> {
    pub(super) fn profiles(&mut self) -> Profiles {
        let site = self.root.key("breakers");
        for (profile, table) in &self.file.breakers {
            let site = site.name(profile);
            self.accept(site, name::plain("a breaker profile", profile));
            self.breaker_table(table, site);
            if table.profile.as_deref().is_some_and(|_| self.stands_on_itself(profile)) {
                let wrong = format!("the profile `{profile}` stands on itself");
                self.report(site.key("profile"), wrong);
            }
        }
        let names: Vec<_> = self.declared.breakers.keys().copied().collect();
        let whole = |name: &&str| ((*name).to_owned(), self.whole(name));
        let profiles = Profiles(names.iter().map(whole).collect());
        for name in self.file.breakers.keys() {
            self.makes_sense(&profiles.table(name), site.name(name));
        }
        profiles
    }

    /// What a table says by itself, whatever it stands on.
    pub(super) fn breaker_table(&mut self, table: &file::Breaker, site: Site<'_>) {
        if let Some(profile) = &table.profile {
            self.resolve(Kind::Breaker, profile, site.key("profile"));
        }
        if let Some(window) = table.window {
            self.accept(site.key("window"), of_one_kind(window));
        }
        if let (Some(Window { calls: Some(calls), .. }), Some(least)) =
            (table.window, table.minimum_calls)
            && least.0 > calls.0
        {
            let wrong = format!("a window of {} calls never holds {} of them", calls.0, least.0);
            self.report(site.key("minimum_calls"), wrong);
        }
    }

    /// What a table says together with all that it stands on.
    pub(super) fn makes_sense(&mut self, whole: &file::Breaker, site: Site<'_>) {
        let Breaker { settings, call_timeout, .. } = breaker("", whole);
        if settings.consecutive_failures.is_none()
            && settings.failure_rate.is_none()
            && settings.slow.is_none()
            && settings.objective.is_none()
            && settings.retry_after_max.is_none()
        {
            let wrong =
                "nothing opens this breaker: it has neither `consecutive_failures` nor a rate";
            self.report(site.key("consecutive_failures"), wrong);
        }
        if settings.probe_timeout < call_timeout {
            let (probe, call) = (settings.probe_timeout.as_secs_f64(), call_timeout.as_secs_f64());
            let wrong = format!(
                "a probe is given up after {probe} s, before the {call} s that a call may take"
            );
            self.report(site.key("probe_timeout_seconds"), wrong);
        }
    }

    fn stands_on_itself(&self, profile: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut next = Some(profile);
        while let Some(name) = next {
            if !seen.insert(name) {
                return name == profile;
            }
            next = self.file.breakers.get(name).and_then(|table| table.profile.as_deref());
        }
        false
    }

    /// A profile with all that it stands on.
    fn whole(&self, name: &str) -> file::Breaker {
        let mut seen = BTreeSet::new();
        let mut whole = file::Breaker::default();
        let mut next = Some(name.to_owned());
        while let Some(name) = next.filter(|name| seen.insert(name.clone())) {
            let written = self.file.breakers.get(&name).cloned().unwrap_or_default();
            next = written.profile.clone().or_else(|| Some(DEFAULT.to_owned()));
            whole = whole.over(written).over(built_in(&name));
        }
        whole.over(built_in(DEFAULT))
    }
}

/// What a built-in profile says; nothing for any other name.
fn built_in(name: &str) -> file::Breaker {
    let profile = |failures: u32, wait: f64, call: f64| file::Breaker {
        consecutive_failures: Some(OrOff::Is(Count(nonzero(failures)))),
        open_wait_seconds: Some(Seconds(wait)),
        call_timeout_seconds: Some(Seconds(call)),
        ..file::Breaker::default()
    };
    match name {
        DEFAULT => file::Breaker {
            successes_to_close: Some(Probes(nonzero(3))),
            probe_timeout_seconds: Some(Seconds(60.0)),
            late_results: Some(LateResults::Dropped),
            ..profile(5, 60.0, 30.0)
        },
        "critical" => file::Breaker {
            probe_timeout_seconds: Some(Seconds(120.0)),
            ..profile(10, 120.0, 60.0)
        },
        "optional" => profile(2, 30.0, 5.0),
        _ => file::Breaker::default(),
    }
}

/// The checked form of a whole table. Where no table says anything, the library's default holds.
pub(super) fn breaker(name: &str, table: &file::Breaker) -> Breaker {
    let unsaid = Settings::default();
    let on = |value: Option<OrOff<Count>>| value.and_then(OrOff::on).map(|count| count.0);
    let settings = Settings {
        consecutive_failures: on(table.consecutive_failures),
        failure_rate: table.failure_rate_percent.and_then(OrOff::on).map(|rate| ratio(rate.0)),
        slow: table.slow.and_then(OrOff::on).and_then(slow),
        objective: table.objective.and_then(OrOff::on).and_then(objective),
        span: table.window.and_then(span).unwrap_or(unsaid.span),
        minimum_calls: table.minimum_calls.map_or(unsaid.minimum_calls, |count| count.0),
        retry_after_max: table.retry_after_max_seconds.and_then(OrOff::on).map(Seconds::duration),
        open_wait: table.open_wait_seconds.map_or(unsaid.open_wait, Seconds::duration),
        backoff: table.backoff.and_then(OrOff::on).map_or(unsaid.backoff, backoff),
        half_open_probes: table.half_open_probes.map_or(unsaid.half_open_probes, |count| count.0),
        verdict: verdict(table).unwrap_or(unsaid.verdict),
        probe_timeout: table.probe_timeout_seconds.map_or(unsaid.probe_timeout, Seconds::duration),
        // Not the library's default: here every call has deadlines, and a probe without an answer has a slow client.
        lost_probe: table.lost_probe.map_or(library::LostProbe::Ignored, |lost| match lost {
            LostProbe::Failure => library::LostProbe::Failure,
            LostProbe::Ignored => library::LostProbe::Ignored,
        }),
        half_open_max: table.half_open_max.and_then(OrOff::on).and_then(half_open_max),
        automatic_half_open: table.automatic_half_open.unwrap_or(unsaid.automatic_half_open),
        ramp: table.ramp.and_then(OrOff::on).map(ramp),
        initial: table.initial_state.map_or(unsaid.initial, initial),
        profile: fine_print(table, unsaid.profile),
    };
    Breaker {
        name: name.into(),
        settings,
        call_timeout: table.call_timeout_seconds.map_or(Duration::from_secs(30), Seconds::duration),
        busy_is_overload: table.busy_is_overload.unwrap_or(false),
        health_check: table.health_check_seconds.and_then(OrOff::on).map(Seconds::duration),
    }
}

fn of_one_kind(window: Window) -> Result<(), Wrong> {
    match (window.calls, window.seconds) {
        (Some(_), Some(_)) => Err("a window is of `calls` or of `seconds`, not of both".into()),
        (None, None) => Err("a window needs its `calls` or its `seconds`".into()),
        _ => Ok(()),
    }
}

/// A percentage that the schema let pass, in millionths.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between nothing and a million"
)]
fn ratio(percent: f64) -> Ratio {
    Ratio::per_million((percent * 10_000.0).round() as u32)
}

/// A number that the schema let pass, in hundredths.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 100")]
fn hundredths(number: f64) -> u32 {
    (number * 100.0).round() as u32
}

// What must be written and isn't has been reported by the schema; without it there is no such rule.

fn slow(table: file::Slow) -> Option<library::Slow> {
    let longer_than = table.longer_than_seconds?.duration();
    Some(library::Slow { longer_than, rate: ratio(table.rate_percent.0) })
}

fn objective(table: file::Objective) -> Option<library::Objective> {
    let z_hundredths = u16::try_from(hundredths(table.deviations)).unwrap_or(u16::MAX);
    Some(library::Objective { failures: ratio(table.failure_percent?.0), z_hundredths })
}

fn span(window: Window) -> Option<Span> {
    match (window.calls, window.seconds) {
        (Some(calls), _) => Some(Span::Calls(calls.0)),
        (None, Some(length)) => {
            Some(Span::Time { length: length.duration(), buckets: nonzero(window.buckets) })
        }
        (None, None) => None,
    }
}

fn backoff(table: file::Backoff) -> library::Backoff {
    library::Backoff {
        growth_hundredths: hundredths(table.growth),
        wait_max: table.wait_max_seconds.duration(),
        jitter: ratio(table.jitter_percent),
    }
}

fn verdict(table: &file::Breaker) -> Option<library::Verdict> {
    if let Some(rate) = table.probe_rate.and_then(OrOff::on) {
        let (calls, failures) = (rate.calls?.0, ratio(rate.failure_percent.0));
        return Some(library::Verdict::Rate { calls, failures });
    }
    table.successes_to_close.map(|count| library::Verdict::Run(count.0))
}

fn half_open_max(table: file::HalfOpenMax) -> Option<library::HalfOpenMax> {
    let then = match table.then {
        Then::Opens => library::Then::Opens,
        Then::Closes => library::Then::Closes,
    };
    Some(library::HalfOpenMax { after: table.seconds?.duration(), then })
}

fn ramp(table: file::Ramp) -> library::Ramp {
    library::Ramp {
        from: ratio(table.from_percent),
        growth_hundredths: hundredths(table.growth),
        step: table.step_seconds.duration(),
    }
}

const fn initial(state: InitialState) -> State {
    match state {
        InitialState::Closed => State::Closed,
        InitialState::Open => State::Open,
        InitialState::HalfOpen => State::HalfOpen,
        InitialState::ForcedOpen => State::ForcedOpen,
        InitialState::Disabled => State::Disabled,
        InitialState::Shadow => State::Shadow,
    }
}

fn fine_print(table: &file::Breaker, unsaid: library::Profile) -> library::Profile {
    library::Profile {
        threshold: table.threshold.map_or(unsaid.threshold, |reach| match reach {
            Reach::Reached => library::Threshold::Reached,
            Reach::Passed => library::Threshold::Passed,
        }),
        judges: table.judges.map_or(unsaid.judges, |judges| match judges {
            Judges::EachResult => library::Judges::EachResult,
            Judges::FailuresOnly => library::Judges::FailuresOnly,
        }),
        minimum: table.minimum.map_or(unsaid.minimum, |reach| match reach {
            Reach::Reached => Minimum::Reached,
            Reach::Passed => Minimum::Passed,
        }),
        late: table.late_results.map_or(unsaid.late, |late| match late {
            LateResults::Recorded => Late::Recorded,
            LateResults::Dropped => Late::Dropped,
        }),
    }
}

fn nonzero(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}
