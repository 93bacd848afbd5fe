//! The writer's promises, with stores that fail, stall and come back.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use portcullis::auto_disable::Settings;
use portcullis::circuit_breaker::{Action, Why};
use portcullis::outcome::Outcome;
use portcullis::store::{MemoryStore, Saved, StoreError};
use portcullis::switchboard::feature::Feature;
use portcullis::view::{self, Subscriber};

use super::*;

const PAYMENT: &str = "payment_processing";
const ORDERS: &str = "order_creation";

fn board() -> Switchboard {
    Switchboard::new([PAYMENT, ORDERS].map(Feature::named), [])
}

fn flip(feature: &str, enabled: bool) -> Flip {
    Flip {
        features: vec![feature.into()],
        enabled,
        reason: "a test".to_owned(),
        actor: "ada".to_owned(),
        source: Source::Api,
        expires_at: None,
        terms: Terms::default(),
    }
}

/// A store with a switch: while it is broken, nothing is kept.
#[derive(Clone, Default)]
struct Disk(Arc<DiskState>);

#[derive(Default)]
struct DiskState {
    inner: Mutex<MemoryStore>,
    broken: AtomicBool,
    saves_tried: AtomicUsize,
}

impl Disk {
    fn broken() -> Self {
        let disk = Self::default();
        disk.set_broken(true);
        disk
    }

    fn set_broken(&self, broken: bool) {
        self.0.broken.store(broken, SeqCst);
    }

    fn saved(&self) -> Saved {
        self.0.inner.lock().unwrap().load().unwrap().unwrap_or_default()
    }

    fn audited(&self) -> Vec<AuditEntry> {
        self.0.inner.lock().unwrap().audit(100).unwrap()
    }

    fn works(&self) -> Result<(), StoreError> {
        if self.0.broken.load(SeqCst) {
            return Err(StoreError::Unavailable { what: "the disk is full".to_owned() });
        }
        Ok(())
    }
}

impl Store for Disk {
    fn load(&mut self) -> Result<Option<Saved>, StoreError> {
        self.0.inner.lock().unwrap().load()
    }

    fn save(&mut self, over: u64, saved: &Saved) -> Result<(), StoreError> {
        self.0.saves_tried.fetch_add(1, SeqCst);
        self.works()?;
        self.0.inner.lock().unwrap().save(over, saved)
    }

    fn append_audit(&mut self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.works()?;
        self.0.inner.lock().unwrap().append_audit(entry)
    }

    fn audit(&mut self, last: usize) -> Result<Vec<AuditEntry>, StoreError> {
        self.0.inner.lock().unwrap().audit(last)
    }
}

/// A desk without a thread, and what it publishes.
fn desk(
    switchboard: Switchboard,
    store: impl Store + 'static,
    meters: Vec<Meter>,
) -> (Desk, Subscriber, Arc<Ledger>) {
    let (publisher, subscriber) = view::channel(switchboard.clone());
    let ledger = Arc::new(Ledger::default());
    let board = Board { store: Box::new(store), publisher, switchboard, meters };
    (Desk::new(board, ledger.clone()), subscriber, ledger)
}

fn do_flip(desk: &mut Desk, flip: &Flip) -> Result<Flipped, WriteError> {
    desk.flip(flip, &Origin::default(), UnixMillis(1_000))
}

#[test]
fn a_kill_is_in_force_before_the_store_has_answered() {
    struct Watching(Subscriber, mpsc::Sender<bool>);
    impl Store for Watching {
        fn load(&mut self) -> Result<Option<Saved>, StoreError> {
            Ok(None)
        }
        fn save(&mut self, _: u64, _: &Saved) -> Result<(), StoreError> {
            self.1.send(self.0.pin().is_enabled(PAYMENT)).unwrap();
            Ok(())
        }
        fn append_audit(&mut self, _: &AuditEntry) -> Result<(), StoreError> {
            Ok(())
        }
        fn audit(&mut self, _: usize) -> Result<Vec<AuditEntry>, StoreError> {
            Ok(Vec::new())
        }
    }
    let (publisher, subscriber) = view::channel(board());
    let (seen, seen_while_saving) = mpsc::channel();
    let store = Box::new(Watching(subscriber, seen));
    let board = Board { store, publisher, switchboard: board(), meters: Vec::new() };
    let mut desk = Desk::new(board, Arc::default());

    do_flip(&mut desk, &flip(PAYMENT, false)).unwrap();
    assert!(!seen_while_saving.try_recv().unwrap(), "a kill waits for nobody");
    do_flip(&mut desk, &flip(PAYMENT, true)).unwrap();
    assert!(!seen_while_saving.try_recv().unwrap(), "an enable waits until it is kept");
}

#[test]
fn a_kill_that_cant_be_kept_is_in_force_said_and_repaired() {
    let disk = Disk::broken();
    let (mut desk, subscriber, ledger) = desk(board(), disk.clone(), Vec::new());

    let flipped = do_flip(&mut desk, &flip(PAYMENT, false)).unwrap();
    assert!(!flipped.saved);
    assert_eq!((flipped.revision, &flipped.pending), (0, &vec![PAYMENT.into()]));
    assert!(!subscriber.pin().is_enabled(PAYMENT));
    assert_eq!(subscriber.pin().revision(), 0, "only what is kept has a revision");
    assert!(!ledger.in_order() && ledger.save_failures() == 1);

    desk.repair();
    assert!(desk.needs_repair() && !ledger.in_order());
    disk.set_broken(false);
    desk.repair();
    assert!(!desk.needs_repair() && ledger.in_order());
    assert_eq!(subscriber.pin().revision(), 1);
    assert!(!disk.saved().states[PAYMENT].enabled);
    assert_eq!(disk.audited()[0].revision, 1);
}

/// A store whose every error has a cause.
struct Full;

impl Full {
    fn error() -> StoreError {
        let source = io::Error::other("No space left on device");
        StoreError::Io { doing: "write to", path: "store/state.json".into(), source }
    }
}

impl Store for Full {
    fn load(&mut self) -> Result<Option<Saved>, StoreError> {
        Err(Self::error())
    }

    fn save(&mut self, _: u64, _: &Saved) -> Result<(), StoreError> {
        Err(Self::error())
    }

    fn append_audit(&mut self, _: &AuditEntry) -> Result<(), StoreError> {
        Err(Self::error())
    }

    fn audit(&mut self, _: usize) -> Result<Vec<AuditEntry>, StoreError> {
        Err(Self::error())
    }
}

/// The lines that `work` logs.
fn logged(work: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Page {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(line)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let page = Page::default();
    let written = page.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || written.clone()).finish();
    tracing::subscriber::with_default(subscriber, work);
    let bytes = page.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn what_the_store_cant_do_is_logged_with_its_cause() {
    let lines = logged(|| {
        let held = board().with_state(PAYMENT, State::held_off("KILLSWITCH_PAYMENT_PROCESSING"));
        let (mut desk, _, _) = desk(held, Full, Vec::new());
        assert!(!do_flip(&mut desk, &flip(ORDERS, false)).unwrap().saved);
        desk.write_audit();
    });
    let cause = "can't write to store/state.json: No space left on device";
    for line in [
        "the states beneath the environment's holds can't be read: ",
        "revision 1 is not kept: ",
        "an audit entry is not kept: ",
    ] {
        assert!(lines.contains(&format!("{line}{cause}")), "{lines}");
    }
}

#[tokio::test]
async fn an_audit_that_cant_be_read_says_why() {
    let (writer, _, thread) = running(Full);
    let error = writer.audit(1).await.unwrap_err().to_string();
    assert!(error.ends_with("store/state.json: No space left on device"), "{error}");
    writer.close();
    thread.join().unwrap();
}

#[test]
fn an_enable_that_cant_be_kept_changes_nothing() {
    let disk = Disk::default();
    let (mut desk, subscriber, ledger) = desk(board(), disk.clone(), Vec::new());
    do_flip(&mut desk, &flip(PAYMENT, false)).unwrap();
    disk.set_broken(true);

    let refused = do_flip(&mut desk, &flip(PAYMENT, true));
    assert!(matches!(refused, Err(WriteError::NotSaved { .. })));
    assert!(!subscriber.pin().is_enabled(PAYMENT));
    assert!(ledger.in_order(), "what is in force is kept");
    assert_eq!(disk.audited().len(), 1);
}

#[test]
fn what_comes_after_a_kill_that_waits_keeps_it_too() {
    let disk = Disk::broken();
    let (mut desk, _, ledger) = desk(board(), disk.clone(), Vec::new());
    do_flip(&mut desk, &flip(PAYMENT, false)).unwrap();
    disk.set_broken(false);

    let flipped = do_flip(&mut desk, &flip(ORDERS, true)).unwrap();
    assert!(flipped.saved && flipped.pending.is_empty() && ledger.in_order());
    assert!(!disk.saved().states[PAYMENT].enabled);
    let audited: Vec<_> =
        disk.audited().into_iter().map(|entry| (entry.feature, entry.revision)).collect();
    assert_eq!(audited, [(PAYMENT.to_owned(), 1), (ORDERS.to_owned(), 1)]);
}

#[test]
fn an_emergency_disables_all_features_or_none() {
    let (mut desk, subscriber, _) = desk(board(), MemoryStore::new(), Vec::new());
    let both = |second: &str| Flip {
        features: vec![PAYMENT.into(), second.into()],
        ..flip(PAYMENT, false)
    };

    assert!(do_flip(&mut desk, &both("no_such_feature")).is_err());
    assert!(subscriber.pin().is_enabled(PAYMENT));
    do_flip(&mut desk, &both(ORDERS)).unwrap();
    assert!(!subscriber.pin().is_enabled(PAYMENT) && !subscriber.pin().is_enabled(ORDERS));
}

#[test]
fn a_flip_decided_at_another_revision_is_refused() {
    let (mut desk, subscriber, _) = desk(board(), MemoryStore::new(), Vec::new());
    let origin = Origin { expected_revision: Some(7), ..Origin::default() };
    let refused = desk.flip(&flip(PAYMENT, false), &origin, UnixMillis(1));
    assert!(matches!(refused, Err(WriteError::Moved { expected: 7, revision: 0 })));
    assert!(subscriber.pin().is_enabled(PAYMENT));
}

#[test]
fn a_kill_brings_no_end_forward_unless_it_may() {
    let (mut desk, subscriber, _) = desk(board(), MemoryStore::new(), Vec::new());
    let mut kill = |feature: &str, ends: Option<u64>, may_end_sooner: bool| {
        let flip = Flip { expires_at: ends.map(UnixMillis), ..flip(feature, false) };
        let origin = Origin { may_end_sooner, ..Origin::default() };
        desk.flip(&flip, &origin, UnixMillis(1_000))
    };
    let refused = |result| matches!(result, Err(WriteError::EndsSooner { .. }));

    kill(PAYMENT, Some(5_000), false).expect("what is on has no end yet");
    assert!(refused(kill(PAYMENT, Some(4_999), false)));
    kill(PAYMENT, Some(5_000), false).expect("the same end is no sooner");
    kill(PAYMENT, Some(6_000), false).expect("a longer kill is a kill");
    kill(PAYMENT, None, false).expect("and so is one without end");
    assert!(refused(kill(PAYMENT, Some(u64::MAX), false)), "any end is sooner than none");
    let view = subscriber.pin();
    assert_eq!(view.state(view.id(PAYMENT).unwrap()).expires_at, None);

    kill(PAYMENT, Some(2_000), true).unwrap();
    let view = subscriber.pin();
    assert_eq!(view.state(view.id(PAYMENT).unwrap()).expires_at, Some(UnixMillis(2_000)));
}

#[test]
fn a_kill_beneath_a_hold_has_an_end_to_keep_too() {
    let held = board().with_state(PAYMENT, State::held_off("KILLSWITCH_PAYMENT_PROCESSING"));
    let disk = Disk::default();
    let (mut desk, _, _) = desk(held, disk.clone(), Vec::new());
    let shorter = Flip { expires_at: Some(UnixMillis(5_000)), ..flip(PAYMENT, false) };

    do_flip(&mut desk, &shorter).expect("nobody has decided anything beneath the hold yet");
    do_flip(&mut desk, &flip(PAYMENT, false)).unwrap();
    assert!(matches!(do_flip(&mut desk, &shorter), Err(WriteError::EndsSooner { .. })));
    assert_eq!(disk.saved().states[PAYMENT].expires_at, None);
}

#[test]
fn a_kill_lifts_itself_when_its_time_is_over_and_that_is_audited() {
    let disk = Disk::default();
    let (mut desk, subscriber, _) = desk(board(), disk.clone(), Vec::new());
    let kill = Flip { expires_at: Some(UnixMillis(5_000)), ..flip(PAYMENT, false) };
    do_flip(&mut desk, &kill).unwrap();

    desk.expire(UnixMillis(4_999));
    assert!(!subscriber.pin().is_enabled(PAYMENT));
    desk.expire(UnixMillis(5_000));
    assert!(subscriber.pin().is_enabled(PAYMENT));
    assert_eq!(subscriber.pin().revision(), 2);
    assert!(disk.saved().states[PAYMENT].enabled);
    assert_eq!(disk.audited()[1].action, "expire");
}

fn meter(feature: &str) -> Meter {
    let settings = Settings { errors: std::num::NonZeroU32::MIN, window: Duration::from_secs(300) };
    Meter::new(feature, settings, |_| {})
}

#[test]
fn turning_a_feature_on_lets_its_meter_count_anew() {
    let meter = meter(PAYMENT);
    let (mut desk, _, _) = desk(board(), MemoryStore::new(), vec![meter.clone()]);
    meter.record(Outcome::Failure);
    do_flip(&mut desk, &flip(PAYMENT, false)).unwrap();
    assert!(meter.snapshot().tripped);
    do_flip(&mut desk, &flip(PAYMENT, true)).unwrap();
    assert!(!meter.snapshot().tripped && meter.snapshot().errors == 0);
}

#[test]
fn a_proposal_never_overrides_a_kill_that_stands() {
    let (mut desk, subscriber, _) = desk(board(), MemoryStore::new(), Vec::new());
    do_flip(&mut desk, &flip(PAYMENT, false)).unwrap();
    let proposal = Flip { actor: "auto".to_owned(), source: Source::Auto, ..flip(PAYMENT, false) };
    desk.propose(&proposal, UnixMillis(2_000));
    let view = subscriber.pin();
    assert_eq!(view.state(view.id(PAYMENT).unwrap()).updated_by, "ada");
}

#[test]
fn what_the_environment_holds_off_stays_off_and_is_not_kept_as_a_kill() {
    let held = board().with_state(PAYMENT, State::held_off("KILLSWITCH_PAYMENT_PROCESSING"));
    let disk = Disk::default();
    let (mut desk, subscriber, _) = desk(held, disk.clone(), Vec::new());

    do_flip(&mut desk, &flip(ORDERS, false)).unwrap();
    assert!(!disk.saved().states.contains_key(PAYMENT));
    let refused = do_flip(&mut desk, &flip(PAYMENT, true));
    assert!(matches!(refused, Err(WriteError::Refused(FlipError::HeldByEnvironment { .. }))));

    do_flip(&mut desk, &flip(PAYMENT, false)).unwrap();
    assert_eq!(
        disk.saved().states[PAYMENT].updated_by,
        "ada",
        "an operator's kill is kept beneath the hold"
    );
    let refused = do_flip(&mut desk, &flip(PAYMENT, true));
    assert!(refused.is_err(), "and does not lift the hold");
    assert!(!subscriber.pin().is_enabled(PAYMENT));
}

#[test]
fn what_was_kept_beneath_a_hold_is_still_kept_after_another_flip() {
    let killed = State { source: Source::Api, ..State::held_off("") };
    let disk = Disk::default();
    disk.0
        .inner
        .lock()
        .unwrap()
        .save(
            0,
            &Saved {
                revision: 4,
                states: [(PAYMENT.to_owned(), killed)].into(),
                ..Saved::default()
            },
        )
        .unwrap();
    let held = disk
        .saved()
        .restore(board())
        .with_state(PAYMENT, State::held_off("KILLSWITCH_PAYMENT_PROCESSING"));
    let (mut desk, _, _) = desk(held, disk.clone(), Vec::new());

    do_flip(&mut desk, &flip(ORDERS, false)).unwrap();
    assert_eq!(disk.saved().revision, 5);
    assert_eq!(disk.saved().states[PAYMENT].source, Source::Api);
}

/// A writer with its thread, as the gateway runs it.
fn running(store: impl Store + 'static) -> (Writer, Subscriber, JoinHandle<()>) {
    let (publisher, subscriber) = view::channel(board());
    let (writer, inbox) = channel();
    let board =
        Board { store: Box::new(store), publisher, switchboard: board(), meters: Vec::new() };
    let thread = thread::spawn(move || inbox.run(board));
    (writer, subscriber, thread)
}

#[tokio::test]
async fn the_thread_ends_after_all_that_waited_and_says_that_it_is_gone() {
    let (writer, subscriber, thread) = running(MemoryStore::new());
    writer.propose(flip(PAYMENT, false));
    writer.close();
    thread.join().unwrap();
    assert!(!subscriber.pin().is_enabled(PAYMENT));
    assert!(writer.ledger().has_stopped());
    assert!(matches!(
        writer.flip(flip(PAYMENT, true), Origin::default()).await,
        Err(WriteError::Closed)
    ));
}

#[tokio::test]
async fn a_trip_of_a_meter_turns_its_feature_off() {
    let (writer, subscriber, thread) = running(MemoryStore::new());
    let settings = Settings { errors: std::num::NonZeroU32::MIN, window: Duration::from_secs(300) };
    let proposing = writer.clone();
    let meter = Meter::new(PAYMENT, settings, move |trip| proposing.propose_trip(trip));
    meter.record(Outcome::Failure);
    writer.settled().await.unwrap();
    let view = subscriber.pin();
    let state = view.state(view.id(PAYMENT).unwrap());
    assert_eq!(
        (state.enabled, state.updated_by.as_str(), state.source.as_str()),
        (false, "auto", "auto")
    );
    writer.close();
    thread.join().unwrap();
}

#[tokio::test]
async fn a_store_that_comes_back_gets_what_waited_without_being_asked() {
    let disk = Disk::broken();
    let (writer, _, thread) = running(disk.clone());
    assert!(!writer.flip(flip(PAYMENT, false), Origin::default()).await.unwrap().saved);
    disk.set_broken(false);
    writer.close();
    thread.join().unwrap();
    assert!(!disk.saved().states[PAYMENT].enabled);
    assert!(writer.ledger().pending().is_empty());
}

#[tokio::test]
async fn an_inbox_that_is_full_refuses_at_once_and_loses_no_proposal() {
    let (writer, inbox) = channel();
    for _ in 0..COMMANDS_MAX {
        writer.0.commands.try_send(Command::Wake).unwrap();
    }
    assert!(matches!(
        writer.flip(flip(PAYMENT, false), Origin::default()).await,
        Err(WriteError::Busy)
    ));
    writer.propose(flip(ORDERS, false));
    writer.close();

    let (publisher, subscriber) = view::channel(board());
    let store = Box::new(MemoryStore::new());
    inbox.run(Board { store, publisher, switchboard: board(), meters: Vec::new() });
    assert!(!subscriber.pin().is_enabled(ORDERS));
}

#[tokio::test]
async fn the_thread_lifts_a_kill_by_the_clock() {
    let (writer, subscriber, thread) = running(MemoryStore::new());
    let at = UnixMillis(UnixMillis::now().0 + 20);
    let kill = Flip { expires_at: Some(at), ..flip(PAYMENT, false) };
    writer.flip(kill, Origin::default()).await.unwrap();
    // The clock of expiries is the wall; the thread is woken by nothing but the expiry itself.
    while !subscriber.pin().is_enabled(PAYMENT) {
        tokio::task::yield_now().await;
    }
    assert!(UnixMillis::now() >= at);
    writer.close();
    thread.join().unwrap();
}

fn order(breaker: &Breaker, action: Action, lasts: Option<Duration>) -> BreakerOrder {
    BreakerOrder {
        breaker: breaker.clone(),
        order: Order { lasts, ..Order::new(action).by("ana").because("INC-42") },
        action: "force-open",
        source: Source::Api,
        request_id: None,
        may_end_sooner: false,
    }
}

fn breaker() -> Breaker {
    Breaker::new("auth", portcullis::circuit_breaker::Settings::default())
}

#[test]
fn an_order_is_in_force_before_the_audit_has_it() {
    let (disk, breaker) = (Disk::broken(), breaker());
    let (mut desk, _, ledger) = desk(board(), disk.clone(), Vec::new());
    let audited = desk.order(order(&breaker, Action::ForceOpen, None), UnixMillis(1_000)).unwrap();
    assert!(!audited && breaker.is_open() && !ledger.in_order());

    disk.set_broken(false);
    desk.repair();
    let entry = disk.audited().pop().unwrap();
    assert_eq!(
        (entry.feature.as_str(), entry.actor.as_str(), entry.reason.as_str()),
        ("breaker:auth", "ana", "INC-42")
    );
    let ordered = entry.breaker.unwrap();
    assert_eq!((ordered.before.as_str(), ordered.after.as_str()), ("closed", "forced_open"));
}

#[test]
fn an_order_that_ends_by_the_clock_is_audited() {
    let (disk, breaker) = (Disk::default(), breaker());
    let (mut desk, _, _) = desk(board(), disk.clone(), Vec::new());
    breaker.order(Order::new(Action::ForceOpen).by("ana").because("INC-42"));
    let given = breaker.changes_since(0).remove(0);
    assert!(Ended::of(&given).is_none(), "it has only begun");

    let why = Why::OrderExpired(breaker.snapshot().order.unwrap());
    let over = Change { from: given.to, to: given.from, why, ..given };
    desk.ended(Ended::of(&over).into_iter().collect());
    let entry = disk.audited().pop().unwrap();
    assert_eq!((entry.action.as_str(), entry.feature.as_str()), ("expire", "breaker:auth"));
    assert_eq!(entry.reason, "an order has expired: forced open by ana: INC-42");
    let ordered = entry.breaker.unwrap();
    assert_eq!((ordered.before.as_str(), ordered.after.as_str()), ("forced_open", "closed"));
}

/// Else a store that reads its audit backwards would stop at the order, and never see the kill.
#[test]
fn an_order_never_seems_older_than_a_kill_before_it() {
    let disk = Disk::broken();
    let (mut desk, _, _) = desk(board(), disk.clone(), Vec::new());
    do_flip(&mut desk, &flip(PAYMENT, false)).unwrap();
    desk.order(order(&breaker(), Action::ForceOpen, None), UnixMillis(1_000)).unwrap();
    disk.set_broken(false);
    desk.repair();
    let revisions: Vec<_> = disk.audited().into_iter().map(|entry| entry.revision).collect();
    assert_eq!(revisions, [1, 1]);
}

#[test]
fn who_may_only_turn_off_cant_bring_the_end_of_a_forced_opening_forward() {
    let (mut desk, _, _) = desk(board(), MemoryStore::new(), Vec::new());
    let breaker = breaker();
    let hour = Some(Duration::from_secs(3_600));
    let minute = Some(Duration::from_secs(60));
    let mut force = |lasts, may_end_sooner| {
        let order = BreakerOrder { may_end_sooner, ..order(&breaker, Action::ForceOpen, lasts) };
        desk.order(order, UnixMillis::now())
    };
    force(hour, false).unwrap();
    assert!(matches!(force(minute, false), Err(WriteError::EndsSooner { .. })));
    force(None, false).unwrap();
    assert!(matches!(force(hour, false), Err(WriteError::EndsSooner { .. })));
    force(minute, true).unwrap();
}
