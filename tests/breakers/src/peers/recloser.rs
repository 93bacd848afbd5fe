//! recloser: a rate over a ring of calls, and no more.

use recloser::{AsyncRecloser, Error, Recloser};

use super::{Answer, Breaker, Call, Operation, Wanted, operate};
use crate::vectors::UNKNOWN;

pub(super) struct Theirs(AsyncRecloser);

impl Theirs {
    pub(super) fn new(wanted: &Wanted) -> Result<Self, String> {
        wanted.is_one_rule()?;
        let rate = wanted.rate.filter(|_| wanted.run.is_none() && wanted.slow.is_none());
        let rate = rate.ok_or("nothing but a rate of failures")?;
        if wanted.time.is_some() || wanted.grows_to.is_some() {
            return Err("no windows of time, no growing waits".to_owned());
        }
        let (probes, probe_rate) = wanted.verdict_by_rate.unwrap_or((wanted.successes, rate));
        let breaker = Recloser::custom()
            .error_rate_closed(rate as f32)
            .error_rate_half_open(probe_rate as f32)
            .closed_len(wanted.calls.min(wanted.minimum))
            .half_open_len(probes)
            .open_wait(wanted.open_wait)
            .build();
        Ok(Self(breaker.into()))
    }
}

impl Breaker for Theirs {
    fn call(&self, operation: Operation) -> Call {
        let breaker = self.0.clone();
        Box::pin(async move {
            match breaker.call(operate(operation)).await {
                Err(Error::Rejected) => Answer::Refused,
                _ => Answer::Given,
            }
        })
    }

    fn state(&self) -> &'static str {
        UNKNOWN
    }

    fn order(&self, word: &str) -> Result<(), String> {
        Err(format!("no {word}"))
    }
}
