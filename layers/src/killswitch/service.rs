//! The service: refuse, or inform and pass on.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderName, HeaderValue, Request};
use tower_service::Service;

use super::{
    asked::{Place, Stage},
    future::ResponseFuture,
};
use crate::{
    dictionary,
    refuse::Refuse,
    rejected::Rejected,
    switchboard::{Off, Switchboard, UnixMillis, feature::FeatureId, kill::Mode, scope::Asked},
    view::Subscriber,
};

/// The header that tells the service below which features are off.
pub const KILLSWITCHES: HeaderName = HeaderName::from_static("killswitches");

/// The service made by [`KillswitchLayer`](super::KillswitchLayer).
#[derive(Debug, Clone)]
pub struct Killswitch<S, R> {
    pub(super) inner: S,
    pub(super) subscriber: Subscriber,
    pub(super) rejects: Arc<[Switch]>,
    pub(super) informs: Arc<[Informed]>,
    pub(super) place: Place,
    pub(super) refuse: R,
    /// The refusal that readiness was given for without asking the inner service, which therefore must not be called.
    pub(super) held: Option<Rejected>,
}

/// A feature as a layer knows it: by its index, or by its name where nobody has declared it yet.
#[derive(Debug, Clone)]
pub(super) struct Switch {
    name: Arc<str>,
    id: Option<FeatureId>,
}

/// A feature that is only told of, and what is said of it when it is off.
#[derive(Debug, Clone)]
pub(super) struct Informed {
    pub(super) switch: Switch,
    pub(super) member: Arc<str>,
}

/// Stands in the extensions of a request whose header is ours, so that a second layer below adds to it instead of
/// removing it. Private: nobody else can claim that.
#[derive(Debug, Clone, Copy)]
struct Ours;

impl Switch {
    pub(super) fn new(name: &str, subscriber: &Subscriber) -> Self {
        Self { name: name.into(), id: subscriber.read(|board| board.id(name)) }
    }

    /// The feature's index, if there is any kill to be asked.
    #[inline]
    fn killed_in(&self, board: &Switchboard) -> Option<FeatureId> {
        self.id.or_else(|| board.id(&self.name)).filter(|&id| board.has_kills(id))
    }
}

impl<S, R> Killswitch<S, R> {
    /// The refusal, whoever asks for whatever.
    fn rejection_of_all(&self, board: &Switchboard) -> Option<Rejected> {
        let mut killed = self.rejects.iter().filter_map(|switch| switch.killed_in(board));
        let id = killed.find(|&id| board.is_off(id))?;
        board.judge(id, &Asked::default()).off.map(|off| rejected(board, id, off))
    }

    /// The refusal of this request. A request is looked at only where a feature has kills.
    fn rejection<B>(&self, board: &Switchboard, request: &Request<B>) -> Option<Rejected> {
        let mut killed =
            self.rejects.iter().filter_map(|switch| switch.killed_in(board)).peekable();
        killed.peek()?;
        let asked = self.place.asked(request);
        killed.find_map(|id| {
            let verdict = board.judge(id, &asked);
            self.tell_watch(board, id, Mode::Shadow, verdict.shadow);
            self.tell_watch(board, id, Mode::Drill, verdict.drill);
            verdict.off.map(|off| rejected(board, id, off))
        })
    }

    fn tell_watch(&self, board: &Switchboard, id: FeatureId, mode: Mode, off: Option<Off<'_>>) {
        let (Some(watch), Some(off)) = (&self.place.watch, off) else { return };
        let was_told = self.place.stage == Stage::BehindAuthentication
            && off.kill.is_some_and(|kill| !kill.scope.asks_who());
        if !was_told {
            watch(mode, &rejected(board, id, off));
        }
    }

    /// What is to be told of these features; nothing while all are on.
    fn members<B>(&self, board: &Switchboard, request: &Request<B>) -> String {
        let mut members = String::new();
        for informed in self.informs.iter() {
            let Some(id) = informed.switch.killed_in(board) else { continue };
            if board.judge(id, &self.place.asked(request)).off.is_some() {
                dictionary::push(&mut members, &informed.member);
            }
        }
        members
    }
}

fn rejected(board: &Switchboard, id: FeatureId, off: Off<'_>) -> Rejected {
    let feature = board.feature(id);
    Rejected::Killed {
        feature: feature.name.clone(),
        public_message: feature.public_message.clone(),
        retry_after: off.expires_at().map(|at| at.left(UnixMillis::now())),
    }
}

/// Sets the header to what a layer above told and these members.
fn tell<B>(request: &mut Request<B>, members: &str) {
    // A look at each name costs less than asking the map, which would have to hash the one that is asked for.
    let is_there = request.headers().keys().any(|name| name == KILLSWITCHES);
    if !is_there && members.is_empty() {
        return;
    }
    let found = request.headers_mut().remove(KILLSWITCHES);
    let above = found.filter(|_| request.extensions().get::<Ours>().is_some());
    let mut told =
        above.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    if !members.is_empty() {
        dictionary::push(&mut told, members);
    }
    if !told.is_empty() {
        let value =
            HeaderValue::try_from(told).expect("keys were checked when the layer was built");
        request.headers_mut().insert(KILLSWITCHES, value);
        request.extensions_mut().insert(Ours);
    }
}

impl<S, R, B> Service<Request<B>> for Killswitch<S, R>
where
    S: Service<Request<B>>,
    R: Refuse<S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, S::Response, S::Error>;

    /// While a feature is off it is ready at once, and the inner service isn't asked: asking may already connect or take a
    /// slot there.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.held = self.subscriber.read(|board| self.rejection_of_all(board));
        if self.held.is_some() { Poll::Ready(Ok(())) } else { self.inner.poll_ready(cx) }
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let held = self.held.take();
        let look = |board: &Switchboard| {
            held.or_else(|| self.rejection(board, &request))
                .map_or_else(|| Ok(self.members(board, &request)), Err)
        };
        match self.subscriber.read_in(request.extensions(), look) {
            Err(rejected) => ResponseFuture::refused(self.refuse.refuse(rejected)),
            Ok(members) => {
                tell(&mut request, &members);
                ResponseFuture::passed(self.inner.call(request))
            }
        }
    }
}
