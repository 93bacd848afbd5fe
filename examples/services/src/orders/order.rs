//! An order, and how the instructions shape it when it is placed. Pure: nothing is read or written here.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::instructions::{Feature, Instructions};

const ITEMS_MAX: usize = 100;
/// What the demo's warehouse has of everything, except of the one product that is always gone.
const STOCK: u32 = 1000;
const ALWAYS_GONE: &str = "sold-out";

/// An order as a customer sends it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct NewOrder {
    user_id: String,
    items: Vec<Item>,
    payment_method: String,
    total_amount: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Item {
    product_id: String,
    quantity: u32,
    price: f64,
}

/// An order as it is kept and answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) order_id: Uuid,
    pub(super) user_id: String,
    pub(super) status: PaymentStatus,
    pub(super) items: Vec<Item>,
    pub(super) payment_method: String,
    pub(super) total_amount: f64,
    pub(super) inventory: Inventory,
    pub(super) notifications: Notifications,
    pub(super) created_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum PaymentStatus {
    #[serde(rename = "confirmed")]
    Confirmed,
    #[serde(rename = "pending payment")]
    Pending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Inventory {
    #[serde(rename = "checked")]
    Checked,
    /// The inventory service is off but a check is required, so the numbers of yesterday must do.
    #[serde(rename = "checked against cached stock")]
    CheckedAgainstCache,
    #[serde(rename = "not checked")]
    NotChecked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notifications {
    pub(super) email: Notification,
    pub(super) sms: Notification,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Notification {
    Sent,
    /// Sent later, when the feature is on again.
    Queued,
    Skipped,
}

/// Why there is no order.
#[derive(Debug, PartialEq)]
pub(super) enum OrderRefused {
    CreationOff,
    Invalid(&'static str),
    OutOfStock(String),
}

impl Order {
    pub(super) fn place(new: NewOrder, instructions: &Instructions) -> Result<Self, OrderRefused> {
        if !instructions.is_on(Feature::OrderCreation) {
            return Err(OrderRefused::CreationOff);
        }
        new.check().map_err(OrderRefused::Invalid)?;
        let inventory = inventory(&new.items, instructions)?;
        let paid = instructions.is_on(Feature::PaymentProcessing);
        Ok(Order {
            order_id: Uuid::now_v7(),
            user_id: new.user_id,
            status: if paid { PaymentStatus::Confirmed } else { PaymentStatus::Pending },
            items: new.items,
            payment_method: new.payment_method,
            total_amount: new.total_amount,
            inventory,
            notifications: notifications(instructions),
            created_at: Timestamp::now(),
        })
    }

    pub(super) fn paid(self) -> Self {
        Order { status: PaymentStatus::Confirmed, ..self }
    }

    pub(super) fn parcels(&self) -> u32 {
        self.items.iter().fold(0, |sum, item| item.quantity.saturating_add(sum))
    }
}

impl NewOrder {
    fn check(&self) -> Result<(), &'static str> {
        let is_amount = |amount: f64| amount.is_finite() && amount >= 0.0;
        if self.user_id.is_empty() {
            return Err("user_id is empty");
        }
        if self.payment_method.is_empty() {
            return Err("payment_method is empty");
        }
        if self.items.is_empty() || self.items.len() > ITEMS_MAX {
            return Err("items must be 1 to 100");
        }
        if self
            .items
            .iter()
            .any(|item| item.product_id.is_empty() || item.quantity == 0 || !is_amount(item.price))
        {
            return Err(
                "each item needs a product_id, a quantity of at least 1 and a price of at least 0",
            );
        }
        if is_amount(self.total_amount) { Ok(()) } else { Err("total_amount must be at least 0") }
    }
}

/// Without the inventory service the setting `require_inventory_check` decides; and when no check is required, none is
/// made even if the service is there.
fn inventory(items: &[Item], instructions: &Instructions) -> Result<Inventory, OrderRefused> {
    if !instructions.is_on(Feature::RequireInventoryCheck) {
        return Ok(Inventory::NotChecked);
    }
    let gone = |item: &&Item| item.product_id == ALWAYS_GONE || item.quantity > STOCK;
    if let Some(item) = items.iter().find(gone) {
        return Err(OrderRefused::OutOfStock(item.product_id.clone()));
    }
    let service_is_on = instructions.is_on(Feature::InventoryService);
    Ok(if service_is_on { Inventory::Checked } else { Inventory::CheckedAgainstCache })
}

fn notifications(instructions: &Instructions) -> Notifications {
    let when = |feature, otherwise| {
        if instructions.is_on(feature) { Notification::Sent } else { otherwise }
    };
    Notifications {
        email: when(Feature::EmailNotifications, Notification::Queued),
        // A text message that comes hours late only confuses.
        sms: when(Feature::SmsNotifications, Notification::Skipped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn new(product: &str) -> Value {
        json!({
            "user_id": "test_user", "items": [{ "product_id": product, "quantity": 1, "price": 100.0 }],
            "payment_method": "test_card", "total_amount": 100.0,
        })
    }

    fn place(product: &str, off: &[Feature]) -> Result<Order, OrderRefused> {
        Order::place(serde_json::from_value(new(product)).unwrap(), &Instructions::without(off))
    }

    #[test]
    fn with_everything_on_an_order_is_confirmed_checked_and_announced() {
        let order = place("laptop", &[]).unwrap();
        assert_eq!((order.status, order.inventory), (PaymentStatus::Confirmed, Inventory::Checked));
        let sent = Notifications { email: Notification::Sent, sms: Notification::Sent };
        assert_eq!(order.notifications, sent);
    }

    #[test]
    fn without_payments_an_order_is_pending() {
        let order = place("laptop", &[Feature::PaymentProcessing]).unwrap();
        assert_eq!(json!(order.status), "pending payment");
    }

    #[test]
    fn without_order_creation_there_is_no_order() {
        assert_eq!(place("laptop", &[Feature::OrderCreation]), Err(OrderRefused::CreationOff));
    }

    #[test]
    fn without_the_inventory_service_a_required_check_uses_the_cached_stock() {
        let off = [Feature::InventoryService];
        assert_eq!(place("laptop", &off).unwrap().inventory, Inventory::CheckedAgainstCache);
        assert_eq!(place("sold-out", &off), Err(OrderRefused::OutOfStock("sold-out".to_owned())));
    }

    #[test]
    fn when_no_check_is_required_what_is_gone_can_be_ordered() {
        for off in [
            &[Feature::RequireInventoryCheck][..],
            &[Feature::RequireInventoryCheck, Feature::InventoryService],
        ] {
            assert_eq!(place("sold-out", off).unwrap().inventory, Inventory::NotChecked);
        }
    }

    #[test]
    fn without_notifications_mail_waits_and_texts_are_skipped() {
        let order =
            place("laptop", &[Feature::EmailNotifications, Feature::SmsNotifications]).unwrap();
        assert_eq!(json!(order.notifications), json!({ "email": "queued", "sms": "skipped" }));
    }

    #[test]
    fn an_order_that_makes_no_sense_is_invalid() {
        for (member, value) in [
            ("user_id", json!("")),
            ("payment_method", json!("")),
            ("items", json!([])),
            ("items", json!([{ "product_id": "x", "quantity": 0, "price": 1.0 }])),
            ("items", json!([{ "product_id": "x", "quantity": 1, "price": -1.0 }])),
            ("total_amount", json!(-1.0)),
        ] {
            let mut order = new("laptop");
            order[member] = value;
            let placed =
                Order::place(serde_json::from_value(order).unwrap(), &Instructions::default());
            assert!(matches!(placed, Err(OrderRefused::Invalid(_))), "{member}");
        }
    }
}
