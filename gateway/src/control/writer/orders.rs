//! Orders to breakers, which go through the one writer so that the audit has them in the order in which they took effect.
//!
//! An order is no flip: no switchboard changes, and it is this gateway's alone. It is in force before the audit has it, as a kill
//! is: a full disk must not keep anybody from forcing a circuit open.

use std::{sync::Arc, time::SystemTime};

use portcullis::{
    circuit_breaker::{Action, Change, Order, Snapshot, Why},
    store::{AuditEntry, Ordered},
    switchboard::{
        UnixMillis,
        feature::{Source, State},
    },
};

use super::{BreakerOrder, WriteError, desk::Desk};

/// An order that has ended by itself.
#[derive(Debug)]
pub(super) struct Ended {
    at: UnixMillis,
    breaker: Arc<str>,
    order: Order,
    before: &'static str,
    after: &'static str,
}

impl Ended {
    /// What a change tells of the end of an order, if that is what made it.
    pub(super) fn of(change: &Change) -> Option<Self> {
        let Why::OrderExpired(order) = &change.why else { return None };
        let since = change.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Some(Self {
            at: after(UnixMillis(0), since),
            breaker: change.breaker.clone(),
            order: order.clone(),
            before: change.from.as_str(),
            after: change.to.as_str(),
        })
    }
}

impl Desk {
    /// Enters the ends of orders into the audit, by nobody but the clock.
    pub(super) fn ended(&mut self, ended: Vec<Ended>) {
        let entry = |Ended { at, breaker, order, before, after }: Ended| AuditEntry {
            at,
            actor: Source::Expiry.as_str().to_owned(),
            action: "expire".to_owned(),
            feature: format!("breaker:{breaker}"),
            reason: format!("an order has expired: {order}"),
            source: Source::Expiry,
            before: Some(State::default()),
            after: State::default(),
            // The overlay knows which.
            revision: 0,
            request_id: None,
            breaker: Some(Ordered {
                before: before.to_owned(),
                after: after.to_owned(),
                expires_at: None,
            }),
        };
        ended.into_iter().map(entry).for_each(|entry| self.queue_audit(entry));
        self.write_audit();
    }

    /// Gives an order to a breaker. Answers whether the audit has it.
    pub(super) fn order(
        &mut self,
        asked: BreakerOrder,
        now: UnixMillis,
    ) -> Result<bool, WriteError> {
        let BreakerOrder { breaker, order, action, source, request_id, may_end_sooner } = asked;
        let before = breaker.snapshot();
        let expires_at = order.lasts.map(|lasts| after(now, lasts));
        if !may_end_sooner {
            refuse_an_end_brought_forward(&before, expires_at, now)?;
        }
        let text = |text: &Option<Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
        let (actor, reason) = (text(&order.actor), text(&order.reason));
        breaker.order(order);
        let entry = AuditEntry {
            at: now,
            actor,
            action: action.to_owned(),
            feature: format!("breaker:{}", breaker.name()),
            reason,
            source,
            before: Some(State::default()),
            after: State::default(),
            // The overlay knows which.
            revision: 0,
            request_id,
            breaker: Some(Ordered {
                before: before.state.as_str().to_owned(),
                after: breaker.state().as_str().to_owned(),
                expires_at,
            }),
        };
        self.queue_audit(entry);
        self.write_audit();
        Ok(!self.has_audit_backlog())
    }
}

/// An order takes the place of the one before it, its end included: so for who may only turn things off, one that ends sooner
/// would be a way to close a circuit a minute later.
fn refuse_an_end_brought_forward(
    before: &Snapshot,
    expires_at: Option<UnixMillis>,
    now: UnixMillis,
) -> Result<(), WriteError> {
    let Some(standing) = &before.order else { return Ok(()) };
    let (Action::ForceOpen, Some(end)) = (standing.action, expires_at) else { return Ok(()) };
    let ends = before.order_expires_in.map(|left| after(now, left));
    if ends.is_none_or(|ends| end < ends) {
        return Err(WriteError::EndsSooner { feature: before.name.clone(), ends });
    }
    Ok(())
}

fn after(now: UnixMillis, wait: std::time::Duration) -> UnixMillis {
    UnixMillis(now.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
}
