//! When a breaker opens, for how long, and what it takes to close it. Each option tells its meaning, its unit, its default
//! and why that is the default.

use std::{num::NonZeroU32, time::Duration};

use super::{backoff::Backoff, profile::Profile, ramp::Ramp, ratio::Ratio, state::State};

/// The settings of one breaker. All rules that are set hold together: whichever is met first opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// So many failures in a row open it. By default 5: one bad answer, or one restart of an instance, is no outage. A total
    /// outage is seen after five calls however much went well before, which no rate can promise.
    pub consecutive_failures: Option<NonZeroU32>,
    /// This share of failures in the window opens it. By default none, because a rate needs a window that fits the traffic;
    /// 50 % of 100 calls is what resilience4j begins with.
    pub failure_rate: Option<Ratio>,
    /// This share of slow calls in the window opens it. By default none: only you know what slow is.
    pub slow: Option<Slow>,
    /// It opens once the window shows, beyond reasonable doubt, that the upstream breaks its objective. By default none.
    pub objective: Option<Objective>,
    /// The window that the three rates above are taken from. By default the last 100 calls.
    pub span: Span,
    /// How many calls a rate is judged by at least. By default 100, as with resilience4j: three failures of five prove
    /// nothing. Never more than a window of calls holds.
    pub minimum_calls: NonZeroU32,
    /// Whether an upstream that says "come back in so many seconds" (429 or 503 with `Retry-After`) is left alone until then,
    /// and for how long at most. By default none: one answer to one client isn't the state of an upstream.
    pub retry_after_max: Option<Duration>,
    /// For how long it refuses before it probes. By default 60 s, time enough for an instance to be replaced.
    pub open_wait: Duration,
    /// How the wait grows while the upstream stays bad. By default it doesn't, as with resilience4j.
    pub backoff: Backoff,
    /// How many probes may be under way at once. By default 1: an upstream that comes back has enough to do.
    pub half_open_probes: NonZeroU32,
    /// What the probes must show to close it. By default one success; raise it where one good answer proves little.
    pub verdict: Verdict,
    /// How long a probe may keep its place without an answer. By default 60 s. Keep it above the deadline of one call, or
    /// the failures of slow probes come too late to count.
    pub probe_timeout: Duration,
    /// What a probe says that has kept its place for too long. By default that it failed: silence is what a hung upstream
    /// answers.
    pub lost_probe: LostProbe,
    /// How long it may stay half-open, and what then. By default without end, as with resilience4j: lost probes are noticed
    /// one by one, so it can't get stuck.
    pub half_open_max: Option<HalfOpenMax>,
    /// Whether it becomes half-open when the wait is over, rather than at the first call after it. By default not, as with
    /// resilience4j. It takes somebody who looks at the clock: [`Breaker::tick`](super::Breaker::tick).
    pub automatic_half_open: bool,
    /// How traffic comes back after the probes succeeded. By default all at once.
    pub ramp: Option<Ramp>,
    /// The state that it begins in. By default closed.
    pub initial: State,
    /// The fine print, in which libraries differ. By default resilience4j's.
    pub profile: Profile,
}

/// What the window holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// The last so many calls, at most [`Span::CALLS_MAX`].
    Calls(NonZeroU32),
    /// The calls of the last so long. It slides a bucket at a time, so it is exact to `length / buckets`.
    Time {
        /// How long a call stays in it.
        length: Duration,
        /// Into how many buckets it is cut, at most [`Span::BUCKETS_MAX`].
        buckets: NonZeroU32,
    },
}

/// A share of calls that take too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slow {
    /// A call that takes longer than this is slow. For HTTP it is the time to the head of the response: a long body is no
    /// slow answer.
    pub longer_than: Duration,
    /// This share of them opens the breaker.
    pub rate: Ratio,
}

/// A service level, and how sure the breaker must be that it is missed.
///
/// The rate of a few calls says little and that of many says much; a fixed threshold ignores the difference. This rule takes
/// the lower bound of Wilson's interval: the smallest true rate of failures that the calls of the window leave possible.
/// While that is above the objective, the objective is missed. With 5 % and three standard deviations a black-out is
/// noticed after about a dozen calls, and a brown-out of 20 % after about sixty, which a threshold of 50 % never sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Objective {
    /// This share of failures is promised not to be passed.
    pub failures: Ratio,
    /// How many standard deviations make it sure, in hundredths. 300 means one false alarm in about 700 looks.
    pub z_hundredths: u16,
}

/// What probes must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// So many successes in a row close it, and the first failure opens it. A slow success is a failure where
    /// [`Settings::slow`] is set. [`Verdict::FIRST`] lets the first result decide.
    Run(NonZeroU32),
    /// So many probes are let through in all; then the rates decide, by the thresholds of the closed state.
    Rate {
        /// How many results are waited for.
        calls: NonZeroU32,
        /// This share of failures opens it again.
        failures: Ratio,
    },
}

impl Verdict {
    /// The first result decides.
    pub const FIRST: Self = Self::Run(NonZeroU32::MIN);

    pub(super) const fn is_rate(self) -> bool {
        matches!(self, Self::Rate { .. })
    }
}

/// What a probe says that was never heard of again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostProbe {
    /// It failed.
    Failure,
    /// Nothing: another one takes its place.
    Ignored,
}

/// The longest stay in half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HalfOpenMax {
    /// After so long,
    pub after: Duration,
    /// it opens or closes, without a verdict.
    pub then: Then,
}

/// Where a half-open breaker goes without a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It opens for another wait.
    Opens,
    /// It closes.
    Closes,
}

impl Span {
    /// A million calls: two megabytes.
    pub const CALLS_MAX: NonZeroU32 = NonZeroU32::MIN.saturating_add(999_999);
    /// 3,600 buckets: an hour by seconds.
    pub const BUCKETS_MAX: NonZeroU32 = NonZeroU32::MIN.saturating_add(3_599);
}

impl Settings {
    pub(super) const fn has_rates(&self) -> bool {
        self.failure_rate.is_some() || self.slow.is_some() || self.objective.is_some()
    }

    /// Whether the end of a successful call has to be timed.
    pub(super) const fn needs_time(&self) -> bool {
        self.slow.is_some() || (self.has_rates() && matches!(self.span, Span::Time { .. }))
    }

    /// The span within its limits.
    pub(super) fn span(&self) -> Span {
        match self.span {
            Span::Calls(calls) => Span::Calls(calls.min(Span::CALLS_MAX)),
            Span::Time { length, buckets } => {
                Span::Time { length, buckets: buckets.min(Span::BUCKETS_MAX) }
            }
        }
    }

    /// The minimum, which a window of calls can reach.
    pub(super) fn minimum(&self) -> u64 {
        let minimum = match self.span() {
            Span::Calls(calls) => self.minimum_calls.min(calls),
            Span::Time { .. } => self.minimum_calls,
        };
        u64::from(minimum.get())
    }

    pub(super) fn is_slow(&self, took: Duration) -> bool {
        self.slow.is_some_and(|slow| took > slow.longer_than)
    }
}

impl Default for Settings {
    fn default() -> Self {
        const ONE: NonZeroU32 = NonZeroU32::MIN;
        const HUNDRED: NonZeroU32 = ONE.saturating_add(99);
        Self {
            consecutive_failures: Some(ONE.saturating_add(4)),
            failure_rate: None,
            slow: None,
            objective: None,
            span: Span::Calls(HUNDRED),
            minimum_calls: HUNDRED,
            retry_after_max: None,
            open_wait: Duration::from_secs(60),
            backoff: Backoff::NONE,
            half_open_probes: ONE,
            verdict: Verdict::FIRST,
            probe_timeout: Duration::from_secs(60),
            lost_probe: LostProbe::Failure,
            half_open_max: None,
            automatic_half_open: false,
            ramp: None,
            initial: State::Closed,
            profile: Profile::RESILIENCE4J,
        }
    }
}
