//! Scopes as they are written in JSON: what a person types at an API, read once and with care.
//!
//! `{"tenant": "acme", "method": ["POST", "PUT"], "header": {"x-canary": "1"}, "address": "10.0.0.0/8", "percent": 30}`. Where
//! one value is meant, no list is needed. A name that is no kind of scope is refused: taking it for nothing would kill more
//! than was asked for.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use http::{HeaderName, Method};
use serde::{Deserialize, Serialize};

use super::{
    flag::Rollout,
    scope::{self, Network, VALUE_CHARS_MAX, VALUES_MAX},
};

#[derive(Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Scope {
    #[serde(skip_serializing_if = "Many::is_empty")]
    route: Many,
    #[serde(skip_serializing_if = "Many::is_empty")]
    method: Many,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    header: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Many::is_empty")]
    region: Many,
    #[serde(skip_serializing_if = "Many::is_empty")]
    address: Many,
    #[serde(skip_serializing_if = "Many::is_empty")]
    subject: Many,
    #[serde(skip_serializing_if = "Many::is_empty")]
    tenant: Many,
    #[serde(skip_serializing_if = "Option::is_none")]
    percent: Option<f64>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Many {
    One(String),
    More(Vec<String>),
}

impl Default for Many {
    fn default() -> Self {
        Self::More(Vec::new())
    }
}

impl Many {
    fn is_empty(&self) -> bool {
        matches!(self, Self::More(values) if values.is_empty())
    }

    fn values(self, kind: &str) -> Result<Vec<String>, String> {
        let values = match self {
            Self::One(value) => vec![value],
            Self::More(values) => values,
        };
        if values.len() > VALUES_MAX {
            return Err(format!("a scope takes at most {VALUES_MAX} of one kind, here `{kind}`"));
        }
        for value in &values {
            check(kind, value)?;
        }
        Ok(values)
    }

    fn names(self, kind: &str) -> Result<Vec<Arc<str>>, String> {
        Ok(self.values(kind)?.into_iter().map(Arc::from).collect())
    }
}

impl<T: ToString> FromIterator<T> for Many {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        if values.len() == 1 { Self::One(values.remove(0)) } else { Self::More(values) }
    }
}

fn check(kind: &str, value: &str) -> Result<(), String> {
    if value.is_empty()
        || value.chars().count() > VALUE_CHARS_MAX
        || value.contains(char::is_control)
    {
        return Err(format!(
            "a `{kind}` has 1 to {VALUE_CHARS_MAX} characters, all of them to be seen"
        ));
    }
    Ok(())
}

impl TryFrom<Scope> for scope::Scope {
    type Error = String;

    fn try_from(written: Scope) -> Result<Self, String> {
        let Scope { route, method, header, region, address, subject, tenant, percent } = written;
        let methods = method.values("method")?.into_iter().map(|name| {
            Method::from_bytes(name.to_ascii_uppercase().as_bytes())
                .map_err(|_| format!("{name:?} is no method"))
        });
        if header.len() > VALUES_MAX {
            return Err(format!("a scope takes at most {VALUES_MAX} of one kind, here `header`"));
        }
        let headers = header.into_iter().map(|(name, value)| {
            check("header", &value)?;
            let name = HeaderName::try_from(&name).map_err(|_| format!("{name:?} is no header"))?;
            Ok((name, value))
        });
        let addresses = address.values("address")?.into_iter().map(|text| network(&text));
        Ok(Self {
            routes: route.names("route")?,
            methods: methods.collect::<Result<_, _>>()?,
            headers: headers.collect::<Result<_, String>>()?,
            regions: region.names("region")?,
            addresses: addresses.collect::<Result<_, _>>()?,
            subjects: subject.names("subject")?,
            tenants: tenant.names("tenant")?,
            share: percent.map(share).transpose()?,
        })
    }
}

fn share(percent: f64) -> Result<Rollout, String> {
    let share = Rollout::percent(percent).filter(|share| share.as_percent() > 0.0);
    share.ok_or_else(|| format!("`percent` lies above 0 and is 100 at most, not {percent}"))
}

fn network(text: &str) -> Result<Network, String> {
    let fault = || format!("{text:?} is neither an address nor a block such as 10.0.0.0/8");
    let (address, prefix) =
        text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().map_err(|_| fault())?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.map_or(Ok(bits), |prefix| prefix.parse().map_err(|_| fault()))?;
    if prefix > bits {
        return Err(fault());
    }
    Ok(Network { address, prefix })
}

impl From<scope::Scope> for Scope {
    fn from(scope: scope::Scope) -> Self {
        let headers = scope.headers.into_iter().map(|(name, value)| (name.to_string(), value));
        Self {
            route: scope.routes.into_iter().collect(),
            method: scope.methods.into_iter().collect(),
            header: headers.collect(),
            region: scope.regions.into_iter().collect(),
            address: scope.addresses.into_iter().collect(),
            subject: scope.subjects.into_iter().collect(),
            tenant: scope.tenants.into_iter().collect(),
            percent: scope.share.map(Rollout::as_percent),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::switchboard::scope::Scope;

    fn read(text: &str) -> Result<Scope, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_scope_comes_back_as_it_was_written() {
        let text = concat!(
            r#"{"route":"orders.create","method":["POST","PUT"],"header":{"x-canary":"1"},"region":"eu","#,
            r#""address":["10.0.0.0/8","::1/128"],"subject":"ana","tenant":["acme","zeta"],"percent":12.5}"#
        );
        let scope = read(text).unwrap();
        assert_eq!(serde_json::to_string(&scope).unwrap(), text);
        assert_eq!(
            scope.to_string(),
            "route orders.create, method POST or PUT, header x-canary: 1, region eu, address 10.0.0.0/8 or ::1/128, \
             subject ana, tenant acme or zeta, 12.5 %"
        );
    }

    #[test]
    fn nothing_is_everything() {
        assert!(read("{}").unwrap().is_everything());
        assert_eq!(read("{}").unwrap().to_string(), "everything");
    }

    #[test]
    fn what_makes_no_scope_is_refused_with_a_reason() {
        let long = format!(r#"{{"tenant":"{}"}}"#, "x".repeat(300));
        let many = format!(r#"{{"tenant":[{}"z"]}}"#, r#""a","#.repeat(64));
        for (text, why) in [
            (r#"{"tenants":"acme"}"#, "unknown field `tenants`"),
            (r#"{"percent":0}"#, "above 0"),
            (r#"{"percent":100.1}"#, "100 at most"),
            (r#"{"address":"10.0.0.0/33"}"#, "neither an address"),
            (r#"{"method":"PO ST"}"#, "is no method"),
            (r#"{"header":{"x y":"1"}}"#, "is no header"),
            (r#"{"subject":""}"#, "1 to 256 characters"),
            (&long, "1 to 256 characters"),
            (&many, "at most 64"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
