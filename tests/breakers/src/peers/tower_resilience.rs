//! tower-resilience-circuitbreaker: a tower layer with a rate, a run or slow calls.

use std::{
    cell::{Cell, RefCell},
    task::Context,
};

use tower::{Layer, Service, service_fn, util::BoxCloneService};
use tower_resilience_circuitbreaker::{
    CircuitBreakerError, CircuitBreakerHandle, CircuitBreakerLayer, CircuitState,
    DefaultClassifier, SlidingWindowType,
};

use super::{Answer, Breaker, Call, Operation, Wanted, operate};

type Boxed = BoxCloneService<Operation, (), CircuitBreakerError<()>>;

pub(super) struct Theirs {
    service: RefCell<Boxed>,
    handle: CircuitBreakerHandle<DefaultClassifier>,
    /// It has no word for it.
    forced: Cell<bool>,
}

impl Theirs {
    pub(super) fn new(wanted: &Wanted) -> Result<Self, String> {
        wanted.is_one_rule()?;
        if wanted.grows_to.is_some() || wanted.verdict_by_rate.is_some() {
            return Err("no growing waits, no verdict by rate".to_owned());
        }
        let probes = wanted.probes.max(wanted.successes);
        if wanted.probes > 1 && wanted.probes != wanted.successes {
            return Err("as many successes close it as there are probes".to_owned());
        }
        let mut builder = CircuitBreakerLayer::builder()
            .wait_duration_in_open(wanted.open_wait)
            .permitted_calls_in_half_open(probes);
        builder = match (wanted.run, wanted.rate) {
            (Some(run), _) => builder.consecutive_failures(run),
            (None, rate) => {
                let builder = builder
                    .failure_rate_threshold(rate.unwrap_or(1.0))
                    .minimum_number_of_calls(wanted.minimum);
                match wanted.time {
                    Some(time) => builder
                        .sliding_window_type(SlidingWindowType::TimeBased)
                        .sliding_window_duration(time),
                    None => builder.sliding_window_size(wanted.calls),
                }
            }
        };
        if let Some((longer_than, rate)) = wanted.slow {
            builder =
                builder.slow_call_duration_threshold(longer_than).slow_call_rate_threshold(rate);
        }
        let (layer, handle) = builder.build_with_handle().map_err(|fault| fault.to_string())?;
        let service = BoxCloneService::new(layer.layer(service_fn(operate)));
        Ok(Self { service: RefCell::new(service), handle, forced: Cell::new(false) })
    }
}

impl Breaker for Theirs {
    fn call(&self, operation: Operation) -> Call {
        let mut service = self.service.borrow().clone();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        // In reject mode it is always ready, open or not.
        assert!(service.poll_ready(&mut cx).is_ready());
        let call = service.call(operation);
        Box::pin(async move {
            match call.await {
                Err(CircuitBreakerError::OpenCircuit) => Answer::Refused,
                _ => Answer::Given,
            }
        })
    }

    fn state(&self) -> &'static str {
        match self.handle.state() {
            CircuitState::Closed => "closed",
            CircuitState::Open if self.forced.get() => "forced_open",
            CircuitState::Open => "open",
            CircuitState::HalfOpen => "half_open",
        }
    }

    /// Its orders are futures that only take a lock.
    fn order(&self, word: &str) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        match word {
            "reset" => runtime.block_on(self.handle.reset()),
            "force-open" => runtime.block_on(self.handle.force_open()),
            _ => return Err(format!("no {word}")),
        }
        self.forced.set(word == "force-open");
        Ok(())
    }
}
