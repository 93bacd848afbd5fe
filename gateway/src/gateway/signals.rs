//! What tells the gateway to stop, or to open its log anew.

use std::{
    fmt, io,
    sync::mpsc::{Receiver, Sender, channel},
};

use tokio::signal::unix::{SignalKind, signal};

use super::{StartError, block_on, spawn};
use crate::telemetry::lines::Lines;

/// Why it is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// The end of stdin, where that is asked for.
    LauncherGone,
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LauncherGone => "the end of its launcher",
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}

/// Watches for SIGTERM, SIGINT and (with `PORTCULLIS_UNTIL_STDIN_CLOSES=1`) the end of stdin; SIGHUP opens the log file
/// anew. When this returns no signal is missed any more: one that comes before a port is open must end the gateway, not
/// kill it.
pub(super) fn watch(lines: Lines) -> Result<Receiver<Told>, StartError> {
    let (sender, receiver) = channel();
    if std::env::var_os("PORTCULLIS_UNTIL_STDIN_CLOSES").is_some_and(|value| value == "1") {
        let sender = sender.clone();
        spawn("stdin", move || {
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            let _ = sender.send(Told::LauncherGone);
        })?;
    }
    let (watching, watched) = channel();
    spawn("signals", move || block_on(watch_signals(sender, watching, lines)))?;
    let _ = watched.recv();
    Ok(receiver)
}

async fn watch_signals(told: Sender<Told>, watching: Sender<()>, lines: Lines) {
    let watched = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    );
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = watched else {
        tracing::error!("failed to watch for signals: only SIGKILL will stop this process");
        return std::future::pending().await;
    };
    drop(watching);
    loop {
        let why = tokio::select! {
            _ = terminate.recv() => Told::Terminate,
            _ = interrupt.recv() => Told::Interrupt,
            _ = hangup.recv() => {
                lines.reopen();
                continue;
            }
        };
        if told.send(why).is_err() {
            return;
        }
    }
}
