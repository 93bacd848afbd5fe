//! A breaker around anything that isn't a tower service: a query, a cache, a message queue.
//!
//! An `Ok` is a success and an `Err` a failure, unless a judge says otherwise. A call that is dropped before its end is
//! settled by its age: an outer time-out that cut a hanging call counts, a caller who walked away doesn't. Bound the call
//! inside (`tokio::time::timeout`) and the time-out is an `Err` like any other.
//!
//! ```
//! use portcullis::circuit_breaker::{Breaker, CallError, Settings};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let database = Breaker::new("database", Settings::default());
//!
//! // What went wrong, or that it was refused.
//! let rows = database.call(|| async { Err::<u32, _>("connection reset") }).await;
//! assert!(matches!(rows, Err(CallError::Failed("connection reset"))));
//!
//! // A value instead, or none, or what the arguments tell.
//! let down = || async { Err::<u32, _>("connection reset") };
//! assert_eq!(database.call_or(0, down).await, 0);
//! assert_eq!(database.call_or_none(down).await, None);
//! let stars = database.call_or_else(
//!     "rust-lang/rust",
//!     |_repository| async { Err::<String, _>("connection reset") },
//!     |repository| format!("{repository}: unknown"),
//! );
//! assert_eq!(stars.await, "rust-lang/rust: unknown");
//! # }
//! ```

use std::{error::Error, fmt};

use super::{breaker::Breaker, permit::Permit};
use crate::{
    ending::Settle,
    outcome::{Http, Outcome},
    rejected::Rejected,
};

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError<E> {
    /// The breaker refused it: it was never made.
    Rejected(Rejected),
    /// It was made, and failed.
    Failed(E),
}

impl Breaker {
    /// Makes a call, if the breaker lets it through.
    ///
    /// # Errors
    /// The refusal, or what the call itself says.
    pub async fn call<T, E, F, Fut>(&self, operation: F) -> Result<T, CallError<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.call_judged(by_result, operation).await
    }

    /// Makes a call whose result somebody else judges: a row that isn't there is no failure of the database.
    ///
    /// # Errors
    /// The refusal, or what the call itself says.
    pub async fn call_judged<T, E, F, Fut>(
        &self,
        judge: impl FnOnce(&Result<T, E>) -> Outcome,
        operation: F,
    ) -> Result<T, CallError<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let under_way = UnderWay(Some(self.admit().map_err(CallError::Rejected)?));
        let result = operation().await;
        under_way.settle(judge(&result));
        result.map_err(CallError::Failed)
    }

    /// Makes a call, and takes this value if it is refused or fails.
    pub async fn call_or<T, E, F, Fut>(&self, fallback: T, operation: F) -> T
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.call(operation).await.unwrap_or(fallback)
    }

    /// Makes a call, and takes nothing if it is refused or fails: for a cache.
    pub async fn call_or_none<T, E, F, Fut>(&self, operation: F) -> Option<T>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.call(operation).await.ok()
    }

    /// Makes a call with these arguments, and makes something else of them if it is refused or fails.
    pub async fn call_or_else<A, T, E, F, Fut>(
        &self,
        arguments: A,
        operation: F,
        fallback: impl FnOnce(A) -> T,
    ) -> T
    where
        A: Clone,
        F: FnOnce(A) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let handed_in = arguments.clone();
        let result = self.call(|| operation(handed_in)).await;
        result.unwrap_or_else(|_| fallback(arguments))
    }
}

const fn by_result<T, E>(result: &Result<T, E>) -> Outcome {
    if result.is_ok() { Outcome::Success } else { Outcome::Failure }
}

/// A call that isn't settled yet. Dropped, it is settled by its age.
struct UnderWay(Option<Permit>);

impl UnderWay {
    fn settle(mut self, outcome: Outcome) {
        if let Some(permit) = self.0.take() {
            permit.settle(outcome);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(permit) = self.0.take() {
            let age = (permit.clock())().saturating_duration_since(permit.at());
            permit.settle(Http::new().abandoned(age));
        }
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl<E: Error + 'static> Error for CallError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Failed(error) => error.source(),
        }
    }
}
