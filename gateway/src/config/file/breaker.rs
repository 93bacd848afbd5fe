//! Breakers in the TOML. One table serves for a profile and for what an upstream or a route says beside one, so every key
//! may be left out: what a table doesn't say, the one says that it stands on.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, IntoDeserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Seconds;

/// When a circuit opens, and how it closes again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    /// The profile that says what this table doesn't. Default: for a route what its upstream has, else `default`.
    pub profile: Option<String>,
    /// Failures in a row that open it, or false.
    pub consecutive_failures: Option<OrOff<Count>>,
    /// The share of failures in the window that opens it, in percent, or false.
    pub failure_rate_percent: Option<OrOff<Percent>>,
    /// The share of slow calls in the window that opens it, or false.
    pub slow: Option<OrOff<Slow>>,
    /// The objective whose certain miss opens it, or false.
    pub objective: Option<OrOff<Objective>>,
    /// The window that rates are taken from: so many calls, or so many seconds.
    pub window: Option<Window>,
    /// How many calls a rate is judged by at least.
    pub minimum_calls: Option<Count>,
    /// For how long at most an upstream is left alone that asks for it by `Retry-After`, or false.
    pub retry_after_max_seconds: Option<OrOff<Seconds>>,
    /// Whether a 503 with `Retry-After` asks for less, as a 429 does, rather than being a failure.
    pub busy_is_overload: Option<bool>,
    /// How often the upstream's `health_path` is called through the breaker, or false.
    pub health_check_seconds: Option<OrOff<Seconds>>,
    /// How long one call may take: the upstream's `response_timeout_seconds` where that isn't written.
    pub call_timeout_seconds: Option<Seconds>,
    /// How long it refuses everything before it lets a probe through.
    pub open_wait_seconds: Option<Seconds>,
    /// How that wait grows while the upstream stays bad, or false.
    pub backoff: Option<OrOff<Backoff>>,
    /// Probes at once while half-open.
    pub half_open_probes: Option<Probes>,
    /// Probes in a row that must succeed to close it.
    pub successes_to_close: Option<Probes>,
    /// Lets a rate over so many probes decide, rather than a run of successes, or false.
    pub probe_rate: Option<OrOff<ProbeRate>>,
    /// The age at which a probe without an answer is lost.
    pub probe_timeout_seconds: Option<Seconds>,
    /// What a lost probe says.
    pub lost_probe: Option<LostProbe>,
    /// How long it may stay half-open, and what then, or false.
    pub half_open_max: Option<OrOff<HalfOpenMax>>,
    /// Whether it turns half-open when the wait is over, rather than at the first call after it.
    pub automatic_half_open: Option<bool>,
    /// How traffic comes back after the probes succeeded: step by step, or false for all at once.
    pub ramp: Option<OrOff<Ramp>>,
    /// The state that it begins in: `shadow` only says what it would do, `disabled` only counts.
    pub initial_state: Option<InitialState>,
    /// Whether a rate opens it at its threshold or above it.
    pub threshold: Option<Reach>,
    /// Whether a rate is judged from the call on that completes the minimum, or from the next one.
    pub minimum: Option<Reach>,
    /// After which results a rate is judged.
    pub judges: Option<Judges>,
    /// What becomes of an answer that was asked for in an earlier state.
    pub late_results: Option<LateResults>,
}

impl Breaker {
    /// This table, and where it says nothing, the other one.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        Self {
            profile: self.profile.or(below.profile),
            consecutive_failures: self.consecutive_failures.or(below.consecutive_failures),
            failure_rate_percent: self.failure_rate_percent.or(below.failure_rate_percent),
            slow: self.slow.or(below.slow),
            objective: self.objective.or(below.objective),
            window: self.window.or(below.window),
            minimum_calls: self.minimum_calls.or(below.minimum_calls),
            retry_after_max_seconds: self.retry_after_max_seconds.or(below.retry_after_max_seconds),
            busy_is_overload: self.busy_is_overload.or(below.busy_is_overload),
            health_check_seconds: self.health_check_seconds.or(below.health_check_seconds),
            call_timeout_seconds: self.call_timeout_seconds.or(below.call_timeout_seconds),
            open_wait_seconds: self.open_wait_seconds.or(below.open_wait_seconds),
            backoff: self.backoff.or(below.backoff),
            half_open_probes: self.half_open_probes.or(below.half_open_probes),
            successes_to_close: self.successes_to_close.or(below.successes_to_close),
            probe_rate: self.probe_rate.or(below.probe_rate),
            probe_timeout_seconds: self.probe_timeout_seconds.or(below.probe_timeout_seconds),
            lost_probe: self.lost_probe.or(below.lost_probe),
            half_open_max: self.half_open_max.or(below.half_open_max),
            automatic_half_open: self.automatic_half_open.or(below.automatic_half_open),
            ramp: self.ramp.or(below.ramp),
            initial_state: self.initial_state.or(below.initial_state),
            threshold: self.threshold.or(below.threshold),
            minimum: self.minimum.or(below.minimum),
            judges: self.judges.or(below.judges),
            late_results: self.late_results.or(below.late_results),
        }
    }
}

/// A share of slow calls.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["longer_than_seconds"]))]
pub struct Slow {
    /// A call whose head takes longer than this is slow.
    pub longer_than_seconds: Option<Seconds>,
    /// This share of them opens the circuit.
    pub rate_percent: Percent,
}

impl Default for Slow {
    fn default() -> Self {
        Self { longer_than_seconds: None, rate_percent: Percent(50.0) }
    }
}

/// A service level, and how sure it must be that it is missed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["failure_percent"]))]
pub struct Objective {
    /// The share of failures that is promised not to be passed.
    pub failure_percent: Option<Percent>,
    /// How many standard deviations make it sure.
    #[schemars(range(min = 1, max = 10))]
    pub deviations: f64,
}

impl Default for Objective {
    fn default() -> Self {
        Self { failure_percent: None, deviations: 3.0 }
    }
}

/// What rates are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Window {
    /// The last so many calls.
    pub calls: Option<Count>,
    /// The calls of the last so long.
    pub seconds: Option<Seconds>,
    /// Into how many buckets a window of seconds is cut; it slides a bucket at a time.
    #[schemars(range(min = 1, max = 3600))]
    pub buckets: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self { calls: None, seconds: None, buckets: 10 }
    }
}

/// How the wait grows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Backoff {
    /// Each wait is so many times the one before.
    #[schemars(range(min = 1, max = 10))]
    pub growth: f64,
    /// No wait is longer, chance included.
    pub wait_max_seconds: Seconds,
    /// Each wait is up to this share longer or shorter, by chance, so that a fleet doesn't probe all at once.
    #[schemars(range(min = 0, max = 100))]
    pub jitter_percent: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { growth: 2.0, wait_max_seconds: Seconds(300.0), jitter_percent: 20.0 }
    }
}

/// A rate over probes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["calls"]))]
pub struct ProbeRate {
    /// How many results are waited for.
    pub calls: Option<Probes>,
    /// This share of failures among them opens the circuit again.
    pub failure_percent: Percent,
}

impl Default for ProbeRate {
    fn default() -> Self {
        Self { calls: None, failure_percent: Percent(50.0) }
    }
}

/// The longest stay in half-open.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["seconds"]))]
pub struct HalfOpenMax {
    /// How long.
    pub seconds: Option<Seconds>,
    /// What then, without a verdict.
    pub then: Then,
}

impl Default for HalfOpenMax {
    fn default() -> Self {
        Self { seconds: None, then: Then::Opens }
    }
}

/// Traffic that comes back step by step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ramp {
    /// The share of calls that it begins with.
    #[schemars(range(min = 0.1, max = 100))]
    pub from_percent: f64,
    /// Each step lets through so many times as much.
    #[schemars(range(min = 1.1, max = 100))]
    pub growth: f64,
    /// How long a step lasts at least.
    pub step_seconds: Seconds,
}

impl Default for Ramp {
    fn default() -> Self {
        Self { from_percent: 5.0, growth: 5.0, step_seconds: Seconds(10.0) }
    }
}

/// What a lost probe says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LostProbe {
    /// That the upstream is still bad.
    Failure,
    /// Nothing; another one takes its place.
    Ignored,
}

/// Where a half-open circuit goes without a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// It opens for another wait.
    Opens,
    /// It closes.
    Closes,
}

/// The state that a breaker begins in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InitialState {
    /// Calls pass.
    Closed,
    /// Nothing passes until the wait is over.
    Open,
    /// Only probes pass.
    HalfOpen,
    /// Nothing passes until somebody resets it.
    ForcedOpen,
    /// Everything passes, and is counted.
    Disabled,
    /// Everything passes, and what would have been refused is counted.
    Shadow,
}

/// Whether a bound is to be reached or to be passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// At the bound.
    Reached,
    /// Above it.
    Passed,
}

/// After which results a rate is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Judges {
    /// After each one, so that a success which completes the minimum can open the circuit.
    EachResult,
    /// After failures and slow calls only.
    FailuresOnly,
}

/// What becomes of an answer that was asked for in an earlier state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LateResults {
    /// It counts in the closed state that it meets.
    Recorded,
    /// It shows in the totals only.
    Dropped,
}

/// A number of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Count(pub NonZeroU32);

/// A number of probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Probes(pub NonZeroU32);

/// A share in percent, never nothing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Percent(pub f64);

macro_rules! inline_schema {
    ($name:ident, $schema:tt) => {
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

inline_schema!(Count, { "type": "integer", "minimum": 1, "maximum": 1_000_000 });
inline_schema!(Probes, { "type": "integer", "minimum": 1, "maximum": 1000 });
// What is finer than a hundredth of a percent is beyond what any traffic shows.
inline_schema!(Percent, { "type": "number", "minimum": 0.01, "maximum": 100 });

/// Something, or `false` for none of it.
///
/// Read by hand, as [`BreakerChoice`] is, because an untagged enum would lose where and why a value does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrOff<T> {
    /// None of it, whatever the table below says.
    Off,
    /// This.
    Is(T),
}

impl<T> OrOff<T> {
    /// The something, if it is one.
    pub fn on(self) -> Option<T> {
        match self {
            Self::Off => None,
            Self::Is(value) => Some(value),
        }
    }
}

impl<T: Serialize> Serialize for OrOff<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_bool(false),
            Self::Is(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OrOff<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = OrOff<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value, or false")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<OrOff<T>, E> {
                if on {
                    return Err(E::invalid_value(de::Unexpected::Bool(on), &self));
                }
                Ok(OrOff::Off)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<OrOff<T>, E> {
                T::deserialize(number.into_deserializer()).map(OrOff::Is)
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<OrOff<T>, E> {
                T::deserialize(number.into_deserializer()).map(OrOff::Is)
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<OrOff<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(table)).map(OrOff::Is)
            }
        }

        deserializer.deserialize_any(Either(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for OrOff<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}OrOff", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let on = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [on, { "const": false }] })
    }
}

/// The breaker of an upstream or a route: a profile's name, a table of its own, or `false` for none.
///
/// Read by hand, because an untagged enum would lose where and why a value does not fit.
#[derive(Debug, Clone, PartialEq)]
pub enum BreakerChoice {
    /// Of this profile.
    Profile(String),
    /// As this table says.
    Own(Box<Breaker>),
    /// None.
    Off,
}

impl Serialize for BreakerChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Profile(name) => serializer.serialize_str(name),
            Self::Own(table) => table.serialize(serializer),
            Self::Off => serializer.serialize_bool(false),
        }
    }
}

impl<'de> Deserialize<'de> for BreakerChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choice;

        impl<'de> Visitor<'de> for Choice {
            type Value = BreakerChoice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a breaker profile, a table, or false")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<BreakerChoice, E> {
                Ok(BreakerChoice::Profile(name.to_owned()))
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<BreakerChoice, E> {
                if on {
                    return Err(E::invalid_value(de::Unexpected::Bool(on), &self));
                }
                Ok(BreakerChoice::Off)
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<BreakerChoice, A::Error> {
                let own = Breaker::deserialize(MapAccessDeserializer::new(table))?;
                Ok(BreakerChoice::Own(Box::new(own)))
            }
        }

        deserializer.deserialize_any(Choice)
    }
}

impl JsonSchema for BreakerChoice {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "BreakerChoice".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<Breaker>();
        json_schema!({ "anyOf": [{ "type": "string" }, table, { "const": false }] })
    }
}
