//! Orders to breakers, which go through the one writer so that the audit has them in the order in which they took effect.
//!
//! An order is no flip: no switchboard changes, and it is this gateway's alone. It is in force before the audit has it, as a kill
//! is: a full disk must not keep anybody from forcing a circuit open.

use portcullis::{
    circuit_breaker::{Action, Snapshot},
    store::{AuditEntry, Ordered},
    switchboard::{UnixMillis, feature::State},
};

use super::{BreakerOrder, WriteError, desk::Desk};

impl Desk {
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
        let text =
            |text: &Option<std::sync::Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
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
