//! failsafe: a run of failures. Its growing waits begin at a whole second, which is longer than this table has.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering::SeqCst},
};

use failsafe::{
    Config, Error, Instrument, StateMachine,
    backoff::{Constant, constant},
    failure_policy::{ConsecutiveFailures, consecutive_failures},
    futures::CircuitBreaker,
};

use super::{Answer, Breaker, Call, Operation, Wanted, operate};

const STATES: [&str; 3] = ["closed", "open", "half_open"];

#[derive(Debug, Clone, Default)]
struct Seen(Arc<AtomicU8>);

impl Instrument for Seen {
    fn on_call_rejected(&self) {}

    fn on_open(&self) {
        self.0.store(1, SeqCst);
    }

    fn on_half_open(&self) {
        self.0.store(2, SeqCst);
    }

    fn on_closed(&self) {
        self.0.store(0, SeqCst);
    }
}

pub(super) struct Theirs {
    breaker: Machine,
    seen: Seen,
}

type Machine = StateMachine<ConsecutiveFailures<Constant>, Seen>;

impl Theirs {
    pub(super) fn new(wanted: &Wanted) -> Result<Self, String> {
        let run = wanted.run.filter(|_| wanted.rate.is_none() && wanted.slow.is_none());
        let run = u32::try_from(run.ok_or("no exact rates")?).expect("few");
        if wanted.grows_to.is_some() {
            return Err("growing waits begin at a whole second".to_owned());
        }
        if wanted.successes != 1 || wanted.verdict_by_rate.is_some() {
            return Err("the first result always decides".to_owned());
        }
        let seen = Seen::default();
        let config = Config::new().instrument(seen.clone());
        let policy = consecutive_failures(run, constant(wanted.open_wait));
        let breaker = config.failure_policy(policy).build();
        Ok(Self { breaker, seen })
    }
}

impl Breaker for Theirs {
    fn call(&self, operation: Operation) -> Call {
        let breaker = self.breaker.clone();
        Box::pin(async move {
            match CircuitBreaker::call(&breaker, operate(operation)).await {
                Err(Error::Rejected) => Answer::Refused,
                _ => Answer::Given,
            }
        })
    }

    fn state(&self) -> &'static str {
        STATES[usize::from(self.seen.0.load(SeqCst))]
    }

    fn order(&self, word: &str) -> Result<(), String> {
        if word != "reset" {
            return Err(format!("no {word}"));
        }
        self.breaker.reset();
        self.seen.0.store(0, SeqCst);
        Ok(())
    }
}
