//! The shell of the breaker under a scheduler that tries interleavings: no permit is lost and no change happens twice.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    num::NonZeroU32,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Instant,
};

use portcullis_breakers::{
    circuit_breaker::{Breaker, Settings, State, Verdict},
    outcome::Outcome,
};
use shuttle::{check_random, thread};

fn tries() -> usize {
    if std::env::var_os("PORTCULLIS_FULL").is_some() { 100_000 } else { 2_000 }
}

/// A clock that stands still: nothing here may depend on how long it takes.
fn clock() -> Instant {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    *BEGAN.get_or_init(Instant::now)
}

fn some(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn settings() -> Settings {
    Settings { consecutive_failures: Some(some(2)), ..Settings::default() }
}

fn half_open(probes: u32) -> Settings {
    Settings {
        initial: State::HalfOpen,
        half_open_probes: some(probes),
        verdict: Verdict::Run(some(9)),
        ..settings()
    }
}

#[test]
fn no_more_probes_are_under_way_than_allowed_and_none_is_lost() {
    check_random(
        || {
            let breaker = Breaker::new("b", half_open(2)).with_clock(clock);
            let under_way = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = (0..3)
                .map(|number| {
                    let (breaker, under_way) = (breaker.clone(), under_way.clone());
                    thread::spawn(move || {
                        for _ in 0..2 {
                            let Ok(permit) = breaker.admit() else { continue };
                            assert!(under_way.fetch_add(1, SeqCst) < 2);
                            thread::yield_now();
                            under_way.fetch_sub(1, SeqCst);
                            if number == 0 { drop(permit) } else { permit.settle(Outcome::Success) }
                        }
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(breaker.snapshot().probes, 0);
            assert!(breaker.admit().is_ok(), "no place was lost");
        },
        tries(),
    );
}

#[test]
fn it_opens_once_however_many_failures_come_at_once() {
    check_random(
        || {
            let breaker = Breaker::new("b", settings()).with_clock(clock);
            let threads: Vec<_> = (0..3)
                .map(|_| {
                    let breaker = breaker.clone();
                    thread::spawn(move || {
                        for _ in 0..2 {
                            if let Ok(permit) = breaker.admit() {
                                permit.settle(Outcome::Failure);
                            }
                        }
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            let changes: Vec<_> =
                breaker.changes_since(0).iter().map(|change| (change.number, change.to)).collect();
            assert_eq!(changes, [(1, State::Open)]);
            let snapshot = breaker.snapshot();
            assert_eq!(snapshot.calls_total + snapshot.rejected_total, 6, "no call is forgotten");
            assert!(breaker.admit().is_err(), "the gate is shut for whoever comes afterwards");
        },
        tries(),
    );
}

#[test]
fn orders_and_calls_at_once_leave_the_gate_and_the_state_at_one_and_are_told_in_order() {
    check_random(
        || {
            let told = Arc::new(std::sync::Mutex::new(Vec::new()));
            let heard = told.clone();
            let breaker = Breaker::new("b", settings())
                .with_clock(clock)
                .on_change(move |change| heard.lock().unwrap().push((change.from, change.to)));
            let orders = {
                let breaker = breaker.clone();
                thread::spawn(move || {
                    breaker.force_open();
                    breaker.reset();
                    breaker.force_open();
                })
            };
            let calls = {
                let breaker = breaker.clone();
                thread::spawn(move || {
                    for _ in 0..3 {
                        if let Ok(permit) = breaker.admit() {
                            permit.settle(Outcome::Failure);
                        }
                    }
                })
            };
            orders.join().unwrap();
            calls.join().unwrap();
            assert_eq!(breaker.state(), State::ForcedOpen);
            assert!(breaker.admit().is_err());
            let told = told.lock().unwrap();
            assert!(told.windows(2).all(|pair| pair[0].1 == pair[1].0), "{told:?}");
            assert_eq!(told.last().unwrap().1, State::ForcedOpen, "and none is missing");
        },
        tries(),
    );
}
