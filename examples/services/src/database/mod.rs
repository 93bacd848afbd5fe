//! One SQLite file that may break and come back while the service stays up.
//!
//! A bounded pool of connections, with a guard in front that leaves a broken file alone for a moment. Every use first
//! looks whether the file on disk is still the one that was opened: a file that was moved away, replaced or overwritten
//! counts as broken, rather than being written to as an orphan. Once it was created, it is never created again behind
//! the operator's back, so that a file that was moved away can be moved back with all its rows.

mod guard;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::response::{IntoResponse, Response};
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::answer;
use guard::{Change, Guard};

/// The bounds of one database; the defaults suit the demo.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub connections_max: usize,
    /// How long a request waits for a connection. Shorter than `lock_wait`, so that a locked file shows as an exhausted
    /// pool instead of an ever longer queue.
    pub connection_wait: Duration,
    /// How long a connection waits for a lock that another process holds.
    pub lock_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_max: 8,
            connection_wait: Duration::from_secs(1),
            lock_wait: Duration::from_millis(2500),
        }
    }
}

/// Why nothing came back from the database. Nothing was promised, so the caller may try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The file can't be opened, read or written.
    Broken,
    /// It failed a moment ago and is left alone.
    Resting,
    /// All connections are in use and none came back in time.
    PoolExhausted,
}

impl IntoResponse for Unavailable {
    fn into_response(self) -> Response {
        answer::busy("Database unavailable", Duration::from_secs(1))
    }
}

type Prepare = dyn Fn(&Connection) -> rusqlite::Result<()> + Send + Sync;

/// A handle; clones share the pool.
#[derive(Clone)]
pub struct Database(Arc<Inner>);

struct Inner {
    file: PathBuf,
    limits: Limits,
    prepare: Box<Prepare>,
    /// Whether the file was created and prepared in this process's life.
    prepared: AtomicBool,
    permits: Arc<Semaphore>,
    // Both mutexes are held for a few instructions only, and never across an await or a call to SQLite.
    idle: Mutex<Vec<Pooled>>,
    guard: Mutex<Guard>,
}

struct Pooled {
    connection: Connection,
    identity: Identity,
}

/// Which file on disk a connection has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Database {
    /// Opens the database at `file` and runs `prepare` (its tables and first rows) once. A file that can't be opened
    /// now is no reason not to start: calls answer [`Unavailable`] until it can.
    pub fn open(
        file: PathBuf,
        limits: Limits,
        prepare: impl Fn(&Connection) -> rusqlite::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let database = Database(Arc::new(Inner {
            file,
            limits,
            prepare: Box::new(prepare),
            prepared: AtomicBool::new(false),
            permits: Arc::new(Semaphore::new(limits.connections_max)),
            idle: Mutex::default(),
            guard: Mutex::default(),
        }));
        let _ = database.0.work(|_| Ok(()));
        database
    }

    /// Runs `work` on a connection. It runs to its end even when the caller goes away.
    pub async fn run<T, F>(&self, work: F) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        if !lock(&self.0.guard).admit(Instant::now()) {
            return Err(Unavailable::Resting);
        }
        let permit = self.permit().await?;
        let inner = self.0.clone();
        let worked = tokio::task::spawn_blocking(move || {
            let outcome = inner.work(work);
            drop(permit);
            outcome
        });
        // A panic in `work` has given back its permit and thrown away its connection.
        worked.await.unwrap_or(Err(Unavailable::Broken))
    }

    /// `up` or `down`, as a health answer says it.
    pub async fn health(&self) -> &'static str {
        let asked = self.run(|connection| {
            connection.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))
        });
        if asked.await.is_ok() { "up" } else { "down" }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Unavailable> {
        let permit =
            timeout(self.0.limits.connection_wait, self.0.permits.clone().acquire_owned()).await;
        // The semaphore is never closed, so an inner error can't happen; it would mean the same to the caller.
        permit.ok().and_then(Result::ok).ok_or_else(|| {
            warn!(file = %self.0.file.display(), "Connection pool exhausted");
            Unavailable::PoolExhausted
        })
    }
}

impl Inner {
    fn work<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Unavailable> {
        let outcome = self.connection().and_then(|mut pooled| {
            let value = work(&mut pooled.connection)?;
            lock(&self.idle).push(pooled);
            Ok(value)
        });
        let change = lock(&self.guard).settle(Instant::now(), outcome.is_ok());
        let file = self.file.display();
        match change {
            Some(Change::Rests) => warn!(%file, "Circuit breaker OPENED for database"),
            Some(Change::Recovered) => info!(%file, "Circuit breaker CLOSED for database"),
            None => {}
        }
        // The connection of a failed call is dropped with it: whatever state it was in goes too.
        outcome.map_err(|fault| {
            warn!(%file, %fault, "database call failed");
            Unavailable::Broken
        })
    }

    fn connection(&self) -> Result<Pooled, Fault> {
        if !self.prepared.load(Ordering::Acquire) {
            let pooled = self.create()?;
            self.prepared.store(true, Ordering::Release);
            return Ok(pooled);
        }
        let identity = inspect(&self.file)?;
        loop {
            let Some(pooled) = lock(&self.idle).pop() else { break };
            if pooled.identity == identity {
                return Ok(pooled);
            }
        }
        Ok(Pooled { connection: self.connect(OpenFlags::empty())?, identity })
    }

    fn create(&self) -> Result<Pooled, Fault> {
        let connection = self.connect(OpenFlags::SQLITE_OPEN_CREATE)?;
        (self.prepare)(&connection)?;
        Ok(Pooled { connection, identity: inspect(&self.file)? })
    }

    fn connect(&self, also: OpenFlags) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | also;
        let connection = Connection::open_with_flags(&self.file, flags)?;
        connection.busy_timeout(self.limits.lock_wait)?;
        // WAL, so that readers don't wait for the writer; NORMAL then survives the death of the process, which is the
        // fault that the demo shows, at a tenth of the price of an fsync per row.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(connection)
    }
}

/// What went wrong under a call, for the log line only.
#[derive(Debug)]
enum Fault {
    File(std::io::Error),
    NotADatabase,
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Fault::Sqlite(error)
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Fault::File(error)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::File(error) => write!(f, "can't read the file: {error}"),
            Fault::NotADatabase => f.write_str("the file is not a SQLite database any more"),
            Fault::Sqlite(error) => write!(f, "{error}"),
        }
    }
}

/// Looks at the file itself. SQLite would trust its cache and its open descriptor, and so would keep answering from a
/// file that is gone or overwritten.
fn inspect(path: &Path) -> Result<Identity, Fault> {
    let mut file = File::open(path)?;
    let mut magic = [0; 16];
    file.read_exact(&mut magic).map_err(|_| Fault::NotADatabase)?;
    if &magic != b"SQLite format 3\0" {
        return Err(Fault::NotADatabase);
    }
    let metadata = file.metadata()?;
    Ok(Identity { device: metadata.dev(), inode: metadata.ino() })
}

/// What these mutexes guard is whole between any two statements, so a poisoned one is still good.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    fn notes(directory: &TempDir, limits: Limits) -> Database {
        Database::open(directory.path().join("notes.db"), limits, |connection| {
            connection.execute_batch("CREATE TABLE IF NOT EXISTS notes (text TEXT)")
        })
    }

    async fn write(database: &Database) -> Result<usize, Unavailable> {
        database.run(|connection| connection.execute("INSERT INTO notes VALUES ('x')", [])).await
    }

    async fn count(database: &Database) -> Result<i64, Unavailable> {
        database
            .run(|connection| {
                connection.query_row("SELECT count(*) FROM notes", [], |row| row.get(0))
            })
            .await
    }

    /// Tries until the guard's rest is over.
    async fn count_when_recovered(database: &Database) -> i64 {
        timeout(Duration::from_secs(10), async {
            loop {
                if let Ok(count) = count(database).await {
                    return count;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the database recovers")
    }

    #[tokio::test]
    async fn a_file_moved_away_is_unavailable_and_comes_back_with_its_rows() {
        let directory = TempDir::new().unwrap();
        let (file, away) = (directory.path().join("notes.db"), directory.path().join("away"));
        let database = notes(&directory, Limits::default());
        write(&database).await.unwrap();
        fs::rename(&file, &away).unwrap();
        assert_eq!(write(&database).await, Err(Unavailable::Broken));
        assert_eq!(database.health().await, "down");
        fs::rename(&away, &file).unwrap();
        assert_eq!(count_when_recovered(&database).await, 1);
    }

    #[tokio::test]
    async fn an_overwritten_file_is_unavailable() {
        let directory = TempDir::new().unwrap();
        let database = notes(&directory, Limits::default());
        write(&database).await.unwrap();
        fs::write(directory.path().join("notes.db"), b"no database at all, just words").unwrap();
        assert_eq!(count(&database).await, Err(Unavailable::Broken));
    }

    #[tokio::test]
    async fn after_three_failures_the_database_is_left_alone() {
        let directory = TempDir::new().unwrap();
        let database = notes(&directory, Limits::default());
        fs::remove_file(directory.path().join("notes.db")).unwrap();
        for _ in 0..3 {
            assert_eq!(write(&database).await, Err(Unavailable::Broken));
        }
        assert_eq!(write(&database).await, Err(Unavailable::Resting));
    }

    #[tokio::test]
    async fn a_database_that_is_broken_at_start_is_created_when_it_can_be() {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("notes.db");
        fs::create_dir(&file).unwrap();
        let database = notes(&directory, Limits::default());
        assert_eq!(count(&database).await, Err(Unavailable::Broken));
        fs::remove_dir(&file).unwrap();
        assert_eq!(count_when_recovered(&database).await, 0);
    }

    #[tokio::test]
    async fn an_exhausted_pool_refuses_after_its_wait_and_works_again_later() {
        let directory = TempDir::new().unwrap();
        let limits = Limits {
            connections_max: 1,
            connection_wait: Duration::from_millis(10),
            ..Limits::default()
        };
        let database = notes(&directory, limits);
        let (enter, entered) = tokio::sync::oneshot::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let holder = tokio::spawn({
            let database = database.clone();
            async move {
                database
                    .run(move |_| {
                        let _ = enter.send(());
                        let _ = released.recv();
                        Ok(())
                    })
                    .await
            }
        });
        entered.await.unwrap();
        assert_eq!(count(&database).await, Err(Unavailable::PoolExhausted));
        release.send(()).unwrap();
        holder.await.unwrap().unwrap();
        assert_eq!(count(&database).await, Ok(0));
    }

    #[tokio::test]
    async fn unavailable_is_a_503_that_says_database_unavailable() {
        let response = Unavailable::Broken.into_response();
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key("retry-after"));
    }
}
