//! The one writer of the switchboard.
//!
//! Everybody who wants a change (the admin API, auto-disable, expiry) hands it to a [`Writer`]; one [`Inbox`] on a thread of
//! its own carries the changes out, one after the other, because the store waits for a disk and nothing else should. What a
//! change does, and in which order, is in `desk`; here is only the handing over.
//!
//! Nobody blocks on a full inbox: an operator is told to try again, and a meter's proposal waits on a list beside the channel,
//! since a meter tells only once.

mod desk;
mod orders;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use portcullis::auto_disable::{Meter, Trip};
use portcullis::circuit_breaker::{Breaker, Change, Order};
use portcullis::store::{AuditEntry, News, Store};
use portcullis::switchboard::feature::{Source, State};
use portcullis::switchboard::flip::{Flip, FlipError};
use portcullis::switchboard::kill::Terms;
use portcullis::switchboard::{Switchboard, UnixMillis};
use portcullis::view::Publisher;
use tokio::sync::oneshot;

use self::desk::Desk;
use self::orders::Ended;
use super::chain::Chain;
use super::ledger::Ledger;
use super::moment::rfc3339;

/// Commands that may wait. Each takes a few milliseconds at most, so a full inbox means a disk that hangs.
const COMMANDS_MAX: usize = 64;
/// Proposals that may wait: one per feature at most, since a meter tells once.
const PROPOSALS_MAX: usize = 4096;
/// Ends of orders that wait for the audit: each was an order before, which a person gave.
const ENDED_MAX: usize = 4096;
/// What a store may say while the writer waits for it. It speaks once per change, so this is a minute of flapping.
const NEWS_MAX: usize = 64;
/// Between two attempts to keep what the store refused.
const REPAIR_EVERY: Duration = Duration::from_secs(1);
/// The longest sleep. The wall clock may be set at any time, and expiries follow the wall clock.
const NAP_MAX: Duration = Duration::from_secs(30);

/// Hands changes to the inbox. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Writer(Arc<Desktop>);

#[derive(Debug)]
struct Desktop {
    commands: SyncSender<Command>,
    side: Arc<Side>,
    ledger: Arc<Ledger>,
}

/// What passes beside the channel.
#[derive(Debug, Default)]
struct Side {
    proposals: Mutex<Vec<Flip>>,
    news: Mutex<Vec<News>>,
    /// Orders to breakers that have ended by themselves, for the audit.
    ended: Mutex<Vec<Ended>>,
    closing: AtomicBool,
}

/// The receiving end: whoever runs it is the writer.
#[derive(Debug)]
pub struct Inbox {
    commands: Receiver<Command>,
    side: Arc<Side>,
    ledger: Arc<Ledger>,
}

/// What the writer works with.
pub struct Board {
    pub store: Box<dyn Store>,
    pub publisher: Publisher,
    /// The switchboard that the publisher shows at the start.
    pub switchboard: Switchboard,
    /// Meters count anew when their feature is turned on.
    pub meters: Vec<Meter>,
}

/// Where a flip comes from, as far as its content doesn't say so.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    pub request_id: Option<String>,
    /// The revision that the flip was decided at; at any other one it is refused.
    pub expected_revision: Option<u64>,
    /// Whether a kill in force may end sooner by this one. That is turning on with a delay, and takes the same right.
    pub may_end_sooner: bool,
}

/// What a flip has done.
#[derive(Debug, Clone)]
pub struct Flipped {
    /// The kept revision.
    pub revision: u64,
    /// Whether the change survives the end of the process. If not, it is in force all the same, and tried again.
    pub saved: bool,
    /// How many replicas of the store had it when it was kept; nothing where there are none.
    pub replicas: Option<u32>,
    /// The features of the flip, as they are now.
    pub states: Vec<(Arc<str>, State)>,
    /// All features whose state is in force, but not kept.
    pub pending: Vec<Arc<str>>,
}

/// An order to a breaker, and where it comes from.
#[derive(Debug, Clone)]
pub struct BreakerOrder {
    pub breaker: Breaker,
    pub order: Order,
    /// The word for it in the audit.
    pub action: &'static str,
    pub source: Source,
    pub request_id: Option<String>,
    /// Whether an order to stay open that is in force may end sooner by this one, as with [`Origin::may_end_sooner`].
    pub may_end_sooner: bool,
}

/// Why nothing has changed.
#[derive(Debug)]
pub enum WriteError {
    /// The flip itself is at fault.
    Refused(FlipError),
    /// The switchboard is no longer the one that the flip was decided at.
    Moved { expected: u64, revision: u64 },
    /// The feature is off already, for longer, and whoever asks may not bring that to an end.
    EndsSooner { feature: Arc<str>, ends: Option<UnixMillis> },
    /// The store can't keep it, and turning on needs that.
    NotSaved { features: Vec<Arc<str>> },
    /// The store answers too slowly for all that is asked of it.
    Busy,
    /// The writer is gone.
    Closed,
    /// The store can't be read.
    Unreadable(String),
}

#[derive(Debug)]
enum Command {
    Flip {
        flip: Box<Flip>,
        origin: Origin,
        answer: oneshot::Sender<Result<Flipped, WriteError>>,
    },
    Order {
        order: BreakerOrder,
        answer: oneshot::Sender<Result<bool, WriteError>>,
    },
    Audit {
        last: usize,
        answer: oneshot::Sender<Result<Vec<AuditEntry>, WriteError>>,
    },
    /// Answered when all that came before is done, proposals included.
    Settle {
        answer: oneshot::Sender<Result<(), WriteError>>,
    },
    /// Look beside the channel.
    Wake,
}

/// A writer and its inbox.
pub fn channel() -> (Writer, Inbox) {
    let (sender, commands) = sync_channel(COMMANDS_MAX);
    let side = Arc::new(Side::default());
    let ledger = Arc::new(Ledger::default());
    let inbox = Inbox { commands, side: side.clone(), ledger: ledger.clone() };
    (Writer(Arc::new(Desktop { commands: sender, side, ledger })), inbox)
}

impl Writer {
    /// Changes the switchboard, and waits until that is done.
    ///
    /// # Errors
    /// Whenever nothing has changed.
    pub async fn flip(&self, flip: Flip, origin: Origin) -> Result<Flipped, WriteError> {
        self.ask(|answer| Command::Flip { flip: Box::new(flip), origin, answer }).await
    }

    /// Gives an order to a breaker, and answers whether the audit has it already; if not, it is tried again.
    ///
    /// # Errors
    /// Whenever nothing has changed.
    pub async fn order(&self, order: BreakerOrder) -> Result<bool, WriteError> {
        self.ask(|answer| Command::Order { order, answer }).await
    }

    /// The newest entries of the audit, oldest first.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn audit(&self, last: usize) -> Result<Vec<AuditEntry>, WriteError> {
        self.ask(|answer| Command::Audit { last, answer }).await
    }

    /// Waits until all that was proposed and asked for before is done.
    ///
    /// # Errors
    /// When the writer is busy or gone.
    pub async fn settled(&self) -> Result<(), WriteError> {
        self.ask(|answer| Command::Settle { answer }).await
    }

    /// Proposes a flip and goes on at once: for callers on a worker's thread, who must neither wait nor be told.
    pub fn propose(&self, flip: Flip) {
        let mut proposals = self.0.side.proposals.lock().unwrap_or_else(PoisonError::into_inner);
        if proposals.len() >= PROPOSALS_MAX {
            self.0.ledger.lost_proposal();
            tracing::error!(target: "portcullis::change", "too many flips wait for the store; {:?} is given up", flip.features);
            return;
        }
        proposals.push(flip);
        drop(proposals);
        // A full channel is as good as a wake-up: the inbox looks at the proposals after each command.
        let _ = self.0.commands.try_send(Command::Wake);
    }

    /// Tells what a store says by itself, and goes on at once.
    pub fn tell(&self, news: News) {
        let mut waiting = self.0.side.news.lock().unwrap_or_else(PoisonError::into_inner);
        // Of several revisions only the newest counts, so a storm of them takes one place.
        if matches!(news, News::Newer(_)) {
            waiting.retain(|waits| !matches!(waits, News::Newer(_)));
        }
        if waiting.len() < NEWS_MAX {
            waiting.push(news);
        }
        drop(waiting);
        let _ = self.0.commands.try_send(Command::Wake);
    }

    /// Tells of a change of a breaker, and goes on at once: an order that has ended by itself belongs into the audit.
    pub fn breaker_changed(&self, change: &Change) {
        let Some(ended) = Ended::of(change) else { return };
        let mut waiting = self.0.side.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < ENDED_MAX {
            waiting.push(ended);
        }
        drop(waiting);
        let _ = self.0.commands.try_send(Command::Wake);
    }

    /// Proposes to turn a feature off because its meter tripped.
    pub fn propose_trip(&self, trip: &Trip) {
        let Trip { feature, errors, calls, window } = trip;
        self.propose(Flip {
            features: vec![feature.clone()],
            enabled: false,
            reason: format!(
                "high error rate: {errors} errors among {calls} calls within {} s",
                window.as_secs()
            ),
            actor: "auto".to_owned(),
            source: Source::Auto,
            expires_at: None,
            terms: Terms::default(),
        });
    }

    /// How well things are kept.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.0.ledger
    }

    /// Ends the inbox after all that waits in it. Its thread can be joined then.
    pub fn close(&self) {
        self.0.side.closing.store(true, SeqCst);
        let _ = self.0.commands.try_send(Command::Wake);
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, WriteError>>) -> Command,
    ) -> Result<T, WriteError> {
        let (answer, answered) = oneshot::channel();
        self.0.commands.try_send(command(answer)).map_err(|error| match error {
            TrySendError::Full(_) => WriteError::Busy,
            TrySendError::Disconnected(_) => WriteError::Closed,
        })?;
        answered.await.unwrap_or(Err(WriteError::Closed))
    }
}

impl Inbox {
    /// Carries out what comes, until [`Writer::close`]. Blocks: give it a thread of its own.
    pub fn run(self, board: Board) {
        let _stopped = StoppedOnDrop(self.ledger.clone());
        let mut desk = Desk::new(board, self.ledger.clone());
        let mut repair_at = Instant::now();
        while !self.side.closing.load(SeqCst) {
            desk.expire(now(&desk));
            if desk.needs_repair() && repair_at <= Instant::now() {
                desk.repair();
                repair_at = Instant::now() + REPAIR_EVERY;
            }
            match self.commands.recv_timeout(nap(&desk, repair_at)) {
                Ok(command) => self.obey(&mut desk, command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.take_news(&mut desk);
            self.take_ended(&mut desk);
            self.take_proposals(&mut desk);
        }
        while let Ok(command) = self.commands.try_recv() {
            self.obey(&mut desk, command);
        }
        self.take_proposals(&mut desk);
        if desk.needs_repair() {
            desk.repair();
        }
    }

    /// An answer that nobody waits for any more is nobody's loss: the change stands in the audit.
    fn obey(&self, desk: &mut Desk, command: Command) {
        match command {
            Command::Flip { flip, origin, answer } => {
                let _ = answer.send(desk.flip(&by_the_store(*flip, desk), &origin, now(desk)));
            }
            Command::Order { order, answer } => {
                let _ = answer.send(desk.order(order, UnixMillis::now()));
            }
            Command::Audit { last, answer } => {
                let unreadable = |error| WriteError::Unreadable(Chain(&error).to_string());
                let entries = desk.audit(last).map_err(unreadable);
                let _ = answer.send(entries);
            }
            Command::Settle { answer } => {
                self.take_proposals(desk);
                let _ = answer.send(Ok(()));
            }
            Command::Wake => {}
        }
    }

    fn take_news(&self, desk: &mut Desk) {
        let news = mem::take(&mut *self.side.news.lock().unwrap_or_else(PoisonError::into_inner));
        news.into_iter().for_each(|news| desk.hear(news));
    }

    fn take_ended(&self, desk: &mut Desk) {
        let ended = mem::take(&mut *self.side.ended.lock().unwrap_or_else(PoisonError::into_inner));
        if !ended.is_empty() {
            desk.ended(ended);
        }
    }

    fn take_proposals(&self, desk: &mut Desk) {
        let proposals =
            mem::take(&mut *self.side.proposals.lock().unwrap_or_else(PoisonError::into_inner));
        for flip in proposals {
            desk.propose(&by_the_store(flip, desk), now(desk));
        }
    }
}

fn now(desk: &Desk) -> UnixMillis {
    desk.store_clock().unwrap_or_else(UnixMillis::now)
}

/// The end of a kill was reckoned by this machine's clock; what is shared goes by the store's.
fn by_the_store(flip: Flip, desk: &Desk) -> Flip {
    let Some(there) = desk.store_clock() else { return flip };
    let left = |at: UnixMillis| u64::try_from(at.left(UnixMillis::now()).as_millis());
    let moved = |at| UnixMillis(there.0.saturating_add(left(at).unwrap_or(u64::MAX)));
    Flip { expires_at: flip.expires_at.map(moved), ..flip }
}

fn nap(desk: &Desk, repair_at: Instant) -> Duration {
    let expiry = desk.next_expiry().map_or(NAP_MAX, |at| at.left(now(desk)));
    let repair = if desk.needs_repair() {
        repair_at.saturating_duration_since(Instant::now())
    } else {
        NAP_MAX
    };
    expiry.min(repair).min(NAP_MAX)
}

/// Says that the writer is gone, also when a panic ended it.
struct StoppedOnDrop(Arc<Ledger>);

impl Drop for StoppedOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl From<FlipError> for WriteError {
    fn from(error: FlipError) -> Self {
        Self::Refused(error)
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Moved { expected, revision } => {
                write!(f, "the switchboard is at revision {revision}, not {expected}")
            }
            Self::EndsSooner { feature, ends } => {
                let until = ends.and_then(rfc3339);
                let until = until.as_deref().unwrap_or("somebody turns it on");
                write!(
                    f,
                    "{feature} is off until {until}, and a kill that ends sooner needs the role operator"
                )
            }
            Self::NotSaved { features } => {
                write!(
                    f,
                    "the store can't keep that {} is on, so it stays as it was",
                    features.join(", ")
                )
            }
            Self::Busy => {
                f.write_str("the store is too slow for all that is asked of it; try again")
            }
            Self::Closed => {
                f.write_str("the gateway is about to end; nothing can be changed any more")
            }
            Self::Unreadable(error) => write!(f, "the store can't be read: {error}"),
        }
    }
}

impl Error for WriteError {}
