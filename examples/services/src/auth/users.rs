//! The users and their password hashes.
//!
//! Hashing costs 19 MiB and tens of milliseconds on purpose, so only a few run at once; a login that would wait too
//! long is turned away. An unknown name costs as much as a wrong password, so that time tells nobody which it was.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::database::{Database, Limits, Unavailable};

/// The users of the demo, made when the database is.
const FIRST_USERS: [(&str, &str); 2] = [("admin", "admin123"), ("operator", "operator123")];

const HASHES_AT_ONCE_MAX: usize = 2;
const HASH_WAIT: Duration = Duration::from_secs(2);

pub(super) struct Users {
    database: Database,
    hashes: Arc<Semaphore>,
}

pub(super) enum LoginError {
    Wrong,
    TooMany(Duration),
    Database(Unavailable),
}

impl Users {
    pub(super) fn open(data_dir: &Path) -> Self {
        Users {
            database: Database::open(data_dir.join("auth.db"), Limits::default(), prepare),
            hashes: Arc::new(Semaphore::new(HASHES_AT_ONCE_MAX)),
        }
    }

    pub(super) async fn login(&self, username: &str, password: String) -> Result<(), LoginError> {
        let stored = self.stored_hash(username.to_owned()).await.map_err(LoginError::Database)?;
        let Ok(Ok(permit)) = timeout(HASH_WAIT, self.hashes.clone().acquire_owned()).await else {
            return Err(LoginError::TooMany(HASH_WAIT));
        };
        let matches = tokio::task::spawn_blocking(move || {
            let matches = matches(stored.as_deref(), &password);
            drop(permit);
            matches
        });
        if matches.await.unwrap_or(false) { Ok(()) } else { Err(LoginError::Wrong) }
    }

    pub(super) async fn exists(&self, username: &str) -> Result<bool, Unavailable> {
        Ok(self.stored_hash(username.to_owned()).await?.is_some())
    }

    pub(super) async fn database_health(&self) -> &'static str {
        self.database.health().await
    }

    async fn stored_hash(&self, username: String) -> Result<Option<String>, Unavailable> {
        let query = "SELECT password_hash FROM users WHERE username = ?1";
        self.database
            .run(move |c| c.query_row(query, [username], |row| row.get(0)).optional())
            .await
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS users (username TEXT PRIMARY KEY, password_hash TEXT NOT NULL) STRICT",
    )?;
    let users: i64 = connection.query_row("SELECT count(*) FROM users", [], |row| row.get(0))?;
    if users > 0 {
        return Ok(());
    }
    for (username, password) in FIRST_USERS {
        let hash = hash(password)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        connection.execute("INSERT OR IGNORE INTO users VALUES (?1, ?2)", [username, &hash])?;
    }
    Ok(())
}

fn hash(password: &str) -> Result<String, argon2::password_hash::Error> {
    Ok(Argon2::default().hash_password(password.as_bytes())?.to_string())
}

fn matches(stored: Option<&str>, password: &str) -> bool {
    static NOBODY: OnceLock<String> = OnceLock::new();
    let against = stored.unwrap_or_else(|| {
        NOBODY.get_or_init(|| hash("nobody has this password").unwrap_or_default())
    });
    let Ok(hash) = PasswordHash::new(against) else { return false };
    Argon2::default().verify_password(password.as_bytes(), &hash).is_ok() && stored.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_hash_is_argon2id_with_a_salt_of_its_own() {
        let (one, other) = (hash("same").unwrap(), hash("same").unwrap());
        assert!(one.starts_with("$argon2id$"));
        assert_ne!(one, other);
    }

    #[test]
    fn only_the_right_password_of_a_known_user_matches() {
        let stored = hash("right").unwrap();
        assert!(matches(Some(&stored), "right"));
        assert!(!matches(Some(&stored), "wrong"));
        assert!(!matches(None, "nobody has this password"));
        assert!(!matches(Some("no hash"), "right"));
    }
}
