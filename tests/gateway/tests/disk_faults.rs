//! The promise: a disk that refuses keeps no kill from being in force; it is said once, and mended when the disk is back.
//!
//! The full disk is a real one where a small file system can be mounted; what the kernel seldom does, strace makes it do. A
//! machine that allows neither says so and shows nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_tests::{
    Answer, Client, Gateway, Launch, PATIENCE, Process, Script, Upstream, eventually,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const KILLED: &str = "orders";
const OTHER: &str = "reports";

#[tokio::test]
async fn a_full_disk_keeps_no_kill_from_being_in_force() {
    let Some(disk) = SmallDisk::mount() else {
        return println!("no file system can be mounted here: a really full disk was not tried");
    };
    let upstream = Upstream::always(Script::answer(200, ""));
    let directory = disk.0.path().join("data").display().to_string();
    let gateway = launch(&upstream).env("PORTCULLIS_DATA_DIR", directory).start().await;
    let before = before(&gateway).await;
    disk.fill();
    refused_and_mended(gateway, &before, "No space left on device", async || disk.empty()).await;
}

#[tokio::test]
async fn a_sync_that_fails_is_a_write_that_failed() {
    injected(&["inject=fsync,fdatasync:error=EIO"], "Input/output error").await;
}

#[tokio::test]
async fn a_directory_that_can_not_be_synced_keeps_nothing() {
    // The first sync of a save is the file's, the second the directory's.
    injected(&["inject=fsync:error=EIO:when=2+2"], "Input/output error").await;
}

#[tokio::test]
async fn a_rename_that_fails_leaves_what_was_kept_before() {
    injected(&["inject=rename,renameat,renameat2:error=EIO"], "Input/output error").await;
}

#[tokio::test]
async fn what_was_refused_to_be_turned_on_is_not_on_after_the_next_start() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let mut gateway = launch(&upstream).start().await;
    flip(&gateway, OTHER, false).await.ok();
    // The new snapshot is in its place already when its directory can't be synced.
    let Some(mut strace) = attach(gateway.pid(), &["inject=fsync:error=EIO:when=2"]).await else {
        return println!("strace can't be attached here: failing system calls were not tried");
    };
    assert_eq!(flip(&gateway, OTHER, true).await.status, 503);
    gateway.kill_9();
    strace.kill_9();
    gateway.restart().await;
    assert_eq!(state(&gateway, OTHER).await["enabled"], false);
}

/// The story of [`refused_and_mended`] with system calls that fail as strace is told.
async fn injected(faults: &[&str], said: &str) {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = launch(&upstream).start().await;
    let before = before(&gateway).await;
    let Some(mut strace) = attach(gateway.pid(), faults).await else {
        return println!("strace can't be attached here: failing system calls were not tried");
    };
    refused_and_mended(gateway, &before, said, async || {
        // Told to end, it lets go of the gateway, which goes on.
        strace.terminate().await;
    })
    .await;
}

fn launch(upstream: &Upstream) -> Launch {
    Gateway::in_front_of(upstream)
        .keys(&format!("[features.{KILLED}]"), "critical = true")
        .keys(&format!("[features.{OTHER}]"), "")
        .keys("[[routes]]", &format!("rejects = [\"{KILLED}\"]"))
}

/// Something is kept, so that there is something to lose.
async fn before(gateway: &Gateway) -> Value {
    flip(gateway, OTHER, false).await.ok()
}

/// With the disk out of order: a kill is in force, an enable refused, both said, once. With the disk mended: kept.
async fn refused_and_mended(
    mut gateway: Gateway,
    before: &Value,
    said: &str,
    mend: impl AsyncFnOnce(),
) {
    let killed = flip(&gateway, KILLED, false).await.ok();
    assert_eq!((&killed["saved"], &killed["revision"]), (&json!(false), &before["revision"]));
    assert_eq!(killed["pending"], json!([KILLED]), "{killed}");
    Client::new().get(gateway.url("/")).await.refused(503, "killswitch");
    let enabled = flip(&gateway, OTHER, true).await;
    assert_eq!(enabled.status, 503, "{enabled}");
    assert_eq!(state(&gateway, OTHER).await["enabled"], false, "it stays as it was");

    // It is tried again each second, and said once.
    eventually(PATIENCE, "it is tried again and again", async || {
        (metric(&gateway, "portcullis_store_failures_total").await >= 4.0).then_some(())
    })
    .await;
    assert_eq!(metric(&gateway, "portcullis_store_unsaved").await, 1.0);
    let health = Client::new().get(gateway.url("/health")).await.ok();
    assert_eq!(health["status"], "degraded", "{health}");
    assert_eq!(health["store"]["status"], "unsaved", "{health}");
    assert_eq!(health["store"]["pending"], json!([KILLED]), "{health}");
    assert!(health["store"]["failure"].to_string().contains(said), "{health}");
    let lines = gateway.log().containing("is not kept");
    assert!(lines.len() == 1 && lines[0].contains(said), "one line, with the cause: {lines:?}");

    mend().await;
    gateway.logged("the store works again").await;
    let health = eventually(PATIENCE, "the audit has it, too", async || {
        let health = Client::new().get(gateway.url("/health")).await.ok();
        (health["store"]["status"] == "ok").then_some(health)
    })
    .await;
    assert_eq!(health["store"]["failure"], json!(null), "{health}");
    assert_eq!(metric(&gateway, "portcullis_store_unsaved").await, 0.0);
    assert_eq!(gateway.log().containing("is not kept").len(), 1);

    gateway.restart().await;
    assert_eq!(state(&gateway, KILLED).await["enabled"], false, "it is kept");
    assert_eq!(state(&gateway, OTHER).await["enabled"], false, "and nothing else has changed");
    Client::new().get(gateway.url("/")).await.refused(503, "killswitch");
}

async fn flip(gateway: &Gateway, feature: &str, enabled: bool) -> Answer {
    let body = json!({ "enabled": enabled, "reason": "a test", "updated_by": "ada" });
    Client::new().post(gateway.admin_url(&format!("/admin/killswitch/{feature}"))).json(&body).await
}

async fn state(gateway: &Gateway, feature: &str) -> Value {
    Client::new().get(gateway.admin_url(&format!("/admin/killswitch/{feature}"))).await.ok()
}

async fn metric(gateway: &Gateway, name: &str) -> f64 {
    let figures = Client::new().get(gateway.admin_url("/metrics")).await;
    let text = figures.text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("there is no {name} in {text}"))
}

/// A file system of a few pages in memory.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let home = TempDir::new().expect("a temporary directory can be made");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
            .arg(home.path())
            .output();
        mount.is_ok_and(|mount| mount.status.success()).then_some(Self(home))
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }

    fn fill(&self) {
        let error = std::fs::write(self.filler(), vec![0; 1024 * 1024]).expect_err("it is small");
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    }

    fn empty(&self) {
        std::fs::remove_file(self.filler()).expect("it was written");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the gateway may still be on its way out.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

/// A strace that makes the gateway's system calls fail, once it does.
async fn attach(pid: u32, faults: &[&str]) -> Option<Process> {
    if !Path::new("/usr/bin/strace").is_file() {
        return None;
    }
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "/dev/null", "-p", &pid.to_string()]);
    for fault in faults {
        command.args(["-e", fault]);
    }
    let mut strace = Process::spawn("strace", command);
    eventually(PATIENCE, "strace is attached or gone", async || {
        let attached = !strace.log().containing("attached").is_empty();
        (attached || !strace.log().containing("not permitted").is_empty()).then_some(())
    })
    .await;
    (strace.is_running() && strace.log().containing("not permitted").is_empty()).then_some(strace)
}
