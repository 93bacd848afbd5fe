//! What the gateway says with a request: which features are off, and which flags this user has.
//!
//! Both headers are RFC 9651 dictionaries. When a whole header can't be read, the members of `Killswitches` are tried
//! one by one: a feature that was turned off must not come back because something beside it is misspelt.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::HeaderMap;
use serde_json::{Value, json};
use sfv::{BareItem, Dictionary, ListEntry, Parser};
use tracing::warn;

/// The features that this service knows how to do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Feature {
    OrderCreation,
    PaymentProcessing,
    InventoryService,
    RequireInventoryCheck,
    EmailNotifications,
    SmsNotifications,
    DatabaseWrites,
    ExpensiveQueries,
    ThirdPartyApis,
}

impl Feature {
    pub(super) const ALL: [Feature; 9] = [
        Feature::OrderCreation,
        Feature::PaymentProcessing,
        Feature::InventoryService,
        Feature::RequireInventoryCheck,
        Feature::EmailNotifications,
        Feature::SmsNotifications,
        Feature::DatabaseWrites,
        Feature::ExpensiveQueries,
        Feature::ThirdPartyApis,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Feature::OrderCreation => "order_creation",
            Feature::PaymentProcessing => "payment_processing",
            Feature::InventoryService => "inventory_service",
            Feature::RequireInventoryCheck => "require_inventory_check",
            Feature::EmailNotifications => "email_notifications",
            Feature::SmsNotifications => "sms_notifications",
            Feature::DatabaseWrites => "database_writes",
            Feature::ExpensiveQueries => "expensive_queries",
            Feature::ThirdPartyApis => "third_party_apis",
        }
    }

    fn named(name: &str) -> Option<Feature> {
        Feature::ALL.into_iter().find(|feature| feature.name() == name)
    }
}

/// The instructions of one request.
#[derive(Clone, Debug, Default)]
pub(super) struct Instructions {
    off: BTreeSet<Feature>,
    pub(super) flags: BTreeMap<String, Value>,
}

impl Instructions {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        Instructions {
            off: killswitches(&combined(headers, "killswitches")),
            flags: flags(&combined(headers, "feature-flags")),
        }
    }

    pub(super) fn is_on(&self, feature: Feature) -> bool {
        !self.off.contains(&feature)
    }

    #[cfg(test)]
    pub(super) fn without(off: &[Feature]) -> Self {
        Instructions { off: off.iter().copied().collect(), flags: BTreeMap::new() }
    }
}

/// The value of a header; several lines of one header are one list (RFC 9110, 5.2).
fn combined(headers: &HeaderMap, name: &str) -> String {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.collect::<Vec<_>>().join(", ")
}

fn killswitches(text: &str) -> BTreeSet<Feature> {
    match parse(text) {
        Ok(members) => members.iter().filter_map(feature_off).collect(),
        Err(error) => {
            warn!(%error, "the Killswitches header is malformed; its members are read one by one");
            let members = text.split(',').filter_map(|member| parse(member).ok());
            members
                .flat_map(|members| members.iter().filter_map(feature_off).collect::<Vec<_>>())
                .collect()
        }
    }
}

fn feature_off((key, value): (&sfv::Key, &ListEntry)) -> Option<Feature> {
    let ListEntry::Item(item) = value else { return None };
    if item.bare_item.as_boolean()? { None } else { Feature::named(key.as_str()) }
}

/// Flags only tune; when their header can't be read, none is set.
fn flags(text: &str) -> BTreeMap<String, Value> {
    let members = parse(text).unwrap_or_default();
    members.iter().filter_map(|(key, value)| Some((flag_key(key), plain(value)?))).collect()
}

/// A key that begins with a digit travels behind a `*`, as RFC 9651 has no such keys.
fn flag_key(key: &sfv::Key) -> String {
    let key = key.as_str();
    key.strip_prefix('*').unwrap_or(key).to_owned()
}

fn plain(value: &ListEntry) -> Option<Value> {
    let ListEntry::Item(item) = value else { return None };
    match &item.bare_item {
        BareItem::Boolean(value) => Some(json!(value)),
        BareItem::Integer(value) => Some(json!(i64::from(*value))),
        BareItem::Decimal(value) => Some(json!(f64::from(*value))),
        BareItem::String(value) => Some(json!(value.as_str())),
        BareItem::Token(value) => Some(json!(value.as_str())),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Dictionary, sfv::Error> {
    Parser::new(text).parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn off(text: &str) -> Vec<Feature> {
        killswitches(text).into_iter().collect()
    }

    #[test]
    fn only_what_is_false_is_off() {
        assert_eq!(
            off(
                "payment_processing=?0, sms_notifications=?0;by=x, database_writes=?1, expensive_queries"
            ),
            [Feature::PaymentProcessing, Feature::SmsNotifications]
        );
    }

    #[test]
    fn every_feature_is_known_by_its_name() {
        for feature in Feature::ALL {
            assert_eq!(off(&format!("{}=?0", feature.name())), [feature]);
        }
    }

    #[test]
    fn unknown_features_and_an_empty_header_turn_nothing_off() {
        assert_eq!(off("teleportation=?0"), []);
        assert_eq!(off(""), []);
    }

    #[test]
    fn a_misspelt_member_does_not_turn_its_neighbours_on() {
        assert_eq!(off("Nonsense=?7, payment_processing=?0,"), [Feature::PaymentProcessing]);
    }

    #[test]
    fn the_last_word_on_a_feature_counts() {
        assert_eq!(off("payment_processing=?0, payment_processing=?1"), []);
    }

    #[test]
    fn several_lines_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.append("killswitches", "payment_processing=?0".parse().unwrap());
        headers.append("killswitches", "third_party_apis=?0".parse().unwrap());
        let instructions = Instructions::read(&headers);
        assert!(
            !instructions.is_on(Feature::PaymentProcessing)
                && !instructions.is_on(Feature::ThirdPartyApis)
        );
    }

    #[test]
    fn flags_become_plain_values() {
        let read =
            flags("new-checkout;v=on;r=split, theme=\"blue\";v=blue, limit=3, rate=0.5, *2fa=?0");
        let expected =
            json!({ "new-checkout": true, "theme": "blue", "limit": 3, "rate": 0.5, "2fa": false });
        assert_eq!(json!(read), expected);
    }
}
