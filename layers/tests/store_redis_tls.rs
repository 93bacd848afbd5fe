//! The store in Redis over TLS, against real servers that speak nothing else and ask who comes.
#![cfg(feature = "redis-tls")]
#![allow(clippy::unwrap_used, reason = "in a test, also where a function helps it")]

#[allow(dead_code, reason = "other tests ask more of stores")]
mod conformance;
#[allow(dead_code, reason = "other tests harm these places in more ways")]
mod places;

use std::{fs, sync::Arc};

use conformance::{ears, loaded, newer, saved};
use places::{
    Place,
    certificates::{Certificates, NAME},
    server::Server,
};
use portcullis::store::{
    News, RedisStore, Store, StoreError,
    redis::{Settings, Tls},
};

fn certificates() -> Arc<Certificates> {
    Arc::new(Certificates::made())
}

/// Two stores at a place agree on what one of them saves.
fn shares(place: &Place, certificates: &Certificates) {
    let open = || {
        let mut settings = place.settings("portcullis", false);
        assert!(settings.url.starts_with("rediss://"));
        settings.tls = certificates.settings();
        RedisStore::open(settings).unwrap()
    };
    let (mut writer, mut reader) = (open(), open());
    writer.load().unwrap();
    reader.load().unwrap();
    let news = ears(&mut reader);
    while news.recv_timeout(conformance::PATIENCE).unwrap() != News::Reached {}
    for revision in 1..=3 {
        writer.save(revision - 1, &saved(revision)).unwrap();
    }
    while newer(&news) != saved(3) {}
    assert_eq!(loaded(&mut open()), Some(saved(3)));
    assert_eq!((writer.notices(), reader.notices()), (vec![], vec![]));
}

#[test]
fn a_server_is_shared_over_tls() {
    let certificates = certificates();
    shares(&Place::one_server(Some(&certificates)), &certificates);
}

#[test]
fn sentinels_are_asked_over_tls_and_lead_to_a_master_over_tls() {
    let certificates = certificates();
    shares(&Place::three_sentinels(Some(&certificates)), &certificates);
}

#[test]
fn a_cluster_is_followed_over_tls() {
    let certificates = certificates();
    let mut place = Place::cluster_of_three(Some(&certificates));
    for _ in 0..place.servers.len() {
        shares(&place, &certificates);
        // Each of the nodes is asked first once.
        place.holder("portcullis").cli(&["FLUSHALL"]);
        place.servers.rotate_left(1);
    }
}

/// What a store that can't reach this server says of it.
fn said(server: &Server, tls: Tls) -> String {
    let mut settings = Settings::new(server.url());
    settings.tls = tls;
    settings.timeout = std::time::Duration::from_secs(2);
    let mut store = RedisStore::open(settings).unwrap();
    assert_eq!(store.load().unwrap(), None);
    assert!(matches!(store.save(0, &saved(1)), Err(StoreError::Unavailable { .. })));
    assert_eq!(server.cli(&["DBSIZE"]), "0");
    store.notices().join("; ")
}

#[test]
fn whoever_is_not_vouched_for_is_not_believed() {
    let (ours, theirs) = (certificates(), certificates());
    let server = Server::over(Some(&theirs), &["--save", ""]);
    let told = said(&server, Tls { ca: ours.settings().ca, ..theirs.settings() });
    assert!(told.contains("invalid peer certificate: UnknownIssuer"), "{told}");
    // Nor does the machine that this runs on know them.
    let told = said(&server, Tls { ca: None, ..theirs.settings() });
    assert!(told.contains("invalid peer certificate") || told.contains("trusts nobody"), "{told}");
}

#[test]
fn whoever_proves_another_name_is_not_believed() {
    let certificates = certificates();
    let server = Server::over(Some(&certificates), &["--save", ""]);
    for name in [None, Some("another.test".to_owned())] {
        let told = said(&server, Tls { server_name: name, ..certificates.settings() });
        assert!(told.contains("not valid for name") && told.contains(NAME), "{told}");
    }
}

#[test]
fn a_server_that_asks_who_comes_refuses_who_does_not_say() {
    let certificates = certificates();
    let server = Server::over(Some(&certificates), &["--save", ""]);
    let told = said(&server, Tls { identity: None, ..certificates.settings() });
    assert!(told.to_lowercase().contains("certificaterequired"), "{told}");
}

#[test]
fn files_that_are_of_no_use_are_said_at_once() {
    let certificates = certificates();
    let bad = |tls: Tls| {
        let mut settings = Settings::new("rediss://127.0.0.1:1");
        settings.tls = tls;
        RedisStore::open(settings).unwrap_err().to_string()
    };
    let file = certificates.file("nothing.pem");
    let told = bad(Tls { ca: Some(file.clone()), ..Tls::default() });
    assert!(told.contains("nothing.pem is of no use"), "{told}");
    fs::write(&file, "not a certificate").unwrap();
    let told = bad(Tls { ca: Some(file), ..Tls::default() });
    assert!(told.contains("it has no certificate"), "{told}");
    let mut swapped = certificates.settings();
    let identity = swapped.identity.as_mut().unwrap();
    identity.certificates = certificates.file("redis.test.pem");
    let told = bad(swapped);
    assert!(told.contains("client.test.key is of no use"), "{told}");
    let told = bad(Tls { server_name: Some("no name".to_owned()), ..Tls::default() });
    assert!(told.contains("is no name of a server"), "{told}");
    // What other clients take for leave to trust anybody.
    let lax = RedisStore::open(Settings::new("rediss://127.0.0.1:1/#insecure")).unwrap_err();
    assert!(lax.to_string().contains("must read"), "{lax}");
}

#[test]
fn renewed_files_count_without_a_restart() {
    let (old, new) = (certificates(), certificates());
    let server = Server::over(Some(&new), &["--save", ""]);
    let mut settings = Settings::new(server.url());
    settings.tls = old.settings();
    settings.timeout = std::time::Duration::from_secs(2);
    let mut store = RedisStore::open(settings).unwrap();
    assert!(store.save(0, &saved(1)).is_err());
    for name in ["ca.pem", "client.test.pem", "client.test.key"] {
        fs::copy(new.file(name), old.file(name)).unwrap();
    }
    places::server::until("the store is reached", || store.save(0, &saved(1)).is_ok());
    assert_eq!(loaded(&mut store), Some(saved(1)));
}
