//! A real `redis-server` that keeps nothing, on a free port.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::deadline::{PATIENCE, eventually};
use crate::ports::free_port;
use crate::process::Process;

/// A running Redis; dies with this value.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    home: TempDir,
    port: u16,
    settings: Vec<String>,
}

impl Redis {
    /// Starts one without persistence and waits until it answers.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// The same with more settings, such as `["--maxmemory", "2mb"]`.
    pub async fn with(settings: &[&str]) -> Self {
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        let home = TempDir::new().expect("a temporary directory can be made");
        let port = free_port();
        let process = spawn(&home, port, &settings);
        let redis = Self { process, home, port, settings };
        redis.answers().await;
        redis
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// `redis://address`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// SIGKILL: what it held is gone.
    pub fn kill_9(&mut self) {
        self.process.kill_9();
    }

    /// Starts it again on the same port, empty.
    pub async fn restart(&mut self) {
        self.kill_9();
        self.process = spawn(&self.home, self.port, &self.settings);
        self.answers().await;
    }

    /// SIGSTOP: connections stay open, nothing is answered.
    pub fn pause(&mut self) {
        self.process.pause();
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        self.process.resume();
    }

    /// Sends one inline command (`SET key value`) and answers the first line of the reply, such as `+OK`.
    pub async fn command(&self, line: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.address()).await?;
        stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        let mut reply = Vec::new();
        while !reply.ends_with(b"\r\n") {
            if stream.read_buf(&mut reply).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(String::from_utf8_lossy(&reply).lines().next().unwrap_or_default().to_owned())
    }

    /// The same for a reply of many lines.
    pub async fn text(&self, line: &str) -> std::io::Result<String> {
        let mut stream = BufReader::new(TcpStream::connect(self.address()).await?);
        stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        let mut head = String::new();
        stream.read_line(&mut head).await?;
        let length = head.trim().strip_prefix('$').and_then(|length| length.parse().ok());
        let mut text = vec![0; length.ok_or(std::io::ErrorKind::InvalidData)?];
        stream.read_exact(&mut text).await?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    async fn answers(&self) {
        let what = format!("redis-server on port {} answers", self.port);
        eventually(PATIENCE, &what, || async {
            self.command("PING").await.is_ok_and(|reply| reply == "+PONG")
        })
        .await;
    }
}

fn spawn(home: &TempDir, port: u16, settings: &[String]) -> Process {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join("redis-server").is_file())
    });
    assert!(
        found,
        "redis-server is not on the PATH: install it (Debian: apt-get install redis-server), or run `cargo ci`"
    );
    let mut command = Command::new("redis-server");
    command.current_dir(home.path());
    command.args([
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
        "--port",
        &port.to_string(),
    ]);
    command.args(settings);
    Process::spawn("redis-server", command)
}
