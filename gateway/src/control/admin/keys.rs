//! Who may do what on the admin API.
//!
//! A key is known by its SHA-256 only. The hash of what a caller presents is compared with every hash there is, each in
//! constant time, so that the time of an answer tells neither how much of a key was right nor whose it was.
//!
//! While no key is configured (the listener is on loopback then; anything else doesn't start), everybody may do everything,
//! under the name that they give. From the first key on, writes need one, and reads too unless the listener is on loopback. A
//! key that is not known is refused even where none is needed: somebody believes in it who shouldn't.

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::problem::Problem;
use crate::config::config::{Admin, AdminKey, Role};

/// The keys, and when one is needed.
#[derive(Debug)]
pub(super) struct Keyring {
    keys: Vec<AdminKey>,
    listen: SocketAddr,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// The name of the key; nothing while none is configured.
    key: Option<String>,
    role: Role,
    /// Where from; nothing in tests without a socket.
    pub(super) address: Option<IpAddr>,
}

impl Keyring {
    pub(super) fn new(admin: &Admin) -> Self {
        Self { keys: admin.keys.clone(), listen: admin.listen }
    }

    /// Who calls, if they may do what they ask for.
    pub(super) fn admit(
        &self,
        method: &Method,
        needs: Role,
        headers: &HeaderMap,
        address: Option<IpAddr>,
    ) -> Result<Caller, Problem> {
        let loopback = self.listen.ip().is_loopback();
        if self.keys.is_empty() && loopback {
            return Ok(Caller { key: None, role: Role::Admin, address });
        }
        let caller = match presented(headers) {
            Some(secret) => {
                let key = self
                    .owner(secret)
                    .ok_or_else(|| Problem::unauthorized("this key is not known here"))?;
                if has_expired(key) {
                    return Err(Problem::unauthorized("this key has expired"));
                }
                Caller { key: Some(key.name.clone()), role: key.role, address }
            }
            None if method.is_safe() && loopback => {
                Caller { key: None, role: Role::Viewer, address }
            }
            None => {
                return Err(Problem::unauthorized(
                    "a key is needed: X-API-Key, or Authorization: Bearer",
                ));
            }
        };
        caller.may(needs)?;
        Ok(caller)
    }

    /// The key that a request shows, if it is one of ours and still holds.
    pub(super) fn presented(&self, headers: &HeaderMap) -> Option<&AdminKey> {
        self.owner(presented(headers)?).filter(|key| !has_expired(key))
    }

    /// The key that has this secret, found in a time that tells nothing of it.
    pub(super) fn owner(&self, secret: &[u8]) -> Option<&AdminKey> {
        let presented: [u8; 32] = Sha256::digest(secret).into();
        let mut found = u32::MAX;
        for (index, key) in (0_u32..).zip(&self.keys) {
            let same: Choice = key.sha256.ct_eq(&presented);
            found.conditional_assign(&index, same);
        }
        self.keys.get(usize::try_from(found).ok()?)
    }
}

impl Caller {
    /// The name of the key, where there is one.
    pub(super) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Whether the caller's role is at least this one.
    pub(super) fn may(&self, needed: Role) -> Result<(), Problem> {
        if self.role >= needed {
            return Ok(());
        }
        Err(Problem::forbidden(format_args!(
            "this needs the role {}, the key has {}",
            word(needed),
            word(self.role)
        )))
    }

    /// The name that the audit gets: the key's, with the name that the caller gave beside it.
    pub(super) fn actor(&self, updated_by: Option<&str>) -> String {
        match (&self.key, updated_by) {
            (Some(key), Some(name)) => format!("{key} ({name})"),
            (Some(key), None) => key.clone(),
            (None, Some(name)) => name.to_owned(),
            (None, None) => "anonymous".to_owned(),
        }
    }
}

fn has_expired(key: &AdminKey) -> bool {
    key.expires.is_some_and(|end| end <= SystemTime::now())
}

fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get("x-api-key") {
        return Some(key.as_bytes());
    }
    let (scheme, token) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token.trim_ascii())
}

pub(super) const fn word(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Killer => "killer",
        Role::Operator => "operator",
        Role::Admin => "admin",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;

    fn keyring(listen: &str, roles: &[(&str, Role)]) -> Keyring {
        let key = |(secret, role): &(&str, Role)| AdminKey {
            name: format!("{secret}-key"),
            role: *role,
            sha256: Sha256::digest(secret).into(),
            expires: None,
        };
        Keyring { keys: roles.iter().map(key).collect(), listen: listen.parse().unwrap() }
    }

    fn all(listen: &str) -> Keyring {
        let roles =
            [("v", Role::Viewer), ("k", Role::Killer), ("o", Role::Operator), ("a", Role::Admin)];
        keyring(listen, &roles)
    }

    fn with(key: &str) -> HeaderMap {
        HeaderMap::from_iter([("x-api-key".parse().unwrap(), key.parse().unwrap())])
    }

    fn admit(keyring: &Keyring, method: &Method, headers: &HeaderMap) -> Result<Caller, Problem> {
        let needs = if method.is_safe() { Role::Viewer } else { Role::Killer };
        keyring.admit(method, needs, headers, None)
    }

    fn status(result: Result<Caller, Problem>) -> u16 {
        result.map_or_else(|problem| problem.into_response().status().as_u16(), |_| 200)
    }

    #[test]
    fn without_keys_everybody_may_do_everything() {
        let caller = admit(&keyring("127.0.0.1:1", &[]), &Method::POST, &HeaderMap::new()).unwrap();
        assert!(caller.may(Role::Admin).is_ok());
        assert_eq!(caller.actor(Some("ada")), "ada");
        assert_eq!(caller.actor(None), "anonymous");
    }

    #[test]
    fn from_the_first_key_on_a_write_needs_one() {
        assert_eq!(status(admit(&all("127.0.0.1:1"), &Method::POST, &HeaderMap::new())), 401);
        assert_eq!(status(admit(&all("127.0.0.1:1"), &Method::POST, &with("nonsense"))), 401);
        assert_eq!(status(admit(&all("127.0.0.1:1"), &Method::POST, &with("k"))), 200);
    }

    #[test]
    fn reads_need_a_key_only_beyond_loopback() {
        assert_eq!(status(admit(&all("127.0.0.1:1"), &Method::GET, &HeaderMap::new())), 200);
        assert_eq!(status(admit(&all("10.0.0.1:1"), &Method::GET, &HeaderMap::new())), 401);
        assert_eq!(status(admit(&all("10.0.0.1:1"), &Method::GET, &with("v"))), 200);
    }

    #[test]
    fn a_wrong_key_is_refused_even_where_none_is_needed() {
        assert_eq!(status(admit(&all("127.0.0.1:1"), &Method::GET, &with("nonsense"))), 401);
    }

    #[test]
    fn a_role_may_do_what_it_is_for_and_no_more() {
        let keyring = all("127.0.0.1:1");
        assert_eq!(status(admit(&keyring, &Method::POST, &with("v"))), 403);
        let may =
            |key: &str, role| admit(&keyring, &Method::GET, &with(key)).unwrap().may(role).is_ok();
        assert!(may("k", Role::Killer) && !may("k", Role::Operator));
        assert!(may("o", Role::Operator) && !may("o", Role::Admin));
        assert!(may("a", Role::Admin));
    }

    #[test]
    fn a_bearer_token_is_a_key_too() {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, "bearer  o".parse().unwrap())]);
        let caller = admit(&all("10.0.0.1:1"), &Method::POST, &headers).unwrap();
        assert_eq!(caller.actor(Some("ada")), "o-key (ada)");
    }

    #[test]
    fn a_key_that_has_expired_is_refused_even_where_none_is_needed() {
        let mut keyring = all("127.0.0.1:1");
        keyring.keys[0].expires = Some(SystemTime::now());
        keyring.keys[1].expires = Some(SystemTime::now() + std::time::Duration::from_secs(3600));
        assert_eq!(status(admit(&keyring, &Method::GET, &with("v"))), 401);
        assert_eq!(status(admit(&keyring, &Method::POST, &with("k"))), 200);
    }
}
