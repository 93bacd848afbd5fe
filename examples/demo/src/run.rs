//! The course of a demo: check, build, start, wait until all is up, watch, end.
//!
//! Until all is up the death of any child is a failure and ends everything. After that it is the user's doing, most
//! likely on purpose: it is told, and the rest goes on.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::arguments::{Action, Arguments};
use crate::child::{Child, Program};
use crate::places::{Name, Places};
use crate::{Exit, compile, guide, health, say};

const UP_WITHIN: Duration = Duration::from_secs(60);
/// Longer than the services and the gateway give their own requests to finish.
const END_WITHIN: Duration = Duration::from_secs(8);
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Runs what the arguments ask for, until its end.
pub(crate) async fn run(arguments: &Arguments, places: &Places) -> Exit {
    // Caught from the very beginning, so that a Ctrl-C during the build leaves nothing behind either.
    let told_to_end = match told_to_end() {
        Ok(told_to_end) => told_to_end,
        Err(error) => return Exit::Failed(format!("can't listen for signals: {error}")),
    };
    tokio::pin!(told_to_end);
    let names = match &arguments.action {
        Action::Service(name) => std::slice::from_ref(name),
        _ => &Name::DEMO[..],
    };
    let mut children = Vec::new();
    let outcome = tokio::select! {
        up = bring_up(arguments, places, names, &mut children) => up,
        () = &mut told_to_end => Err(Exit::Failed("told to end before all was up".to_owned())),
    };
    if let Err(exit) = outcome {
        end(&mut children).await;
        return exit;
    }
    announce(arguments.action, places, &children);
    let duration_over = async {
        match arguments.duration {
            Some(duration) => sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    let exit = tokio::select! {
        () = &mut told_to_end => Exit::Done,
        () = duration_over => Exit::Done,
        exit = watch(arguments.action, &mut children, say) => exit,
    };
    say("ending");
    end(&mut children).await;
    exit
}

async fn bring_up(
    arguments: &Arguments,
    places: &Places,
    names: &[Name],
    children: &mut Vec<Child>,
) -> Result<(), Exit> {
    places.check_free(names).map_err(Exit::Busy)?;
    if arguments.build {
        compile::compile(places).await.map_err(Exit::Failed)?;
    }
    for name in names {
        children.push(start(*name, places).map_err(Exit::Failed)?);
    }
    let addresses: Vec<_> = names.iter().map(|name| places.health(*name)).collect();
    all_up(children, &addresses).await.map_err(Exit::Failed)
}

fn start(name: Name, places: &Places) -> Result<Child, String> {
    let path = compile::directory()?.join(name.binary());
    let mut environment = places.environment();
    let arguments: &[&str] = match name {
        Name::Gateway => &["run", "--config", "config/demo.toml"],
        service => {
            environment.push(("PORT", places.address(service).port().to_string()));
            // Faults on demand belong to the demo; they are out of reach through the gateway.
            environment.push(("TEST_ENDPOINTS", "1".to_owned()));
            &[]
        }
    };
    let program = Program {
        name: name.text(),
        path: &path,
        arguments,
        directory: &places.workspace,
        environment: &environment,
    };
    Child::start(&program)
}

/// Waits until each child answers its health, or tells which one ended or stayed silent.
async fn all_up(
    children: &mut [Child],
    addresses: &[(SocketAddr, &'static str)],
) -> Result<(), String> {
    let names: Vec<&'static str> = children.iter().map(|child| child.name).collect();
    let mut silent: Vec<_> = names.into_iter().zip(addresses.iter().copied()).collect();
    let waiting = async {
        while let Some((_, (address, path))) = silent.first() {
            if health::is_up(*address, path).await {
                silent.remove(0);
            } else {
                sleep(ASK_EVERY).await;
            }
        }
    };
    let outcome = tokio::select! {
        // A dead child comes first: something else may answer at its address.
        biased;
        (child, how) = first_ended(children) => Err((child, how)),
        all = timeout(UP_WITHIN, waiting) => Ok(all),
    };
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => {
            Err(format!("{} did not come up within {} s", silent[0].0, UP_WITHIN.as_secs()))
        }
        Err((child, how)) => {
            let last = children[child].last_lines().join("\n  ");
            Err(format!(
                "{} ended while starting: {how}\nits last lines:\n  {last}",
                children[child].name
            ))
        }
    }
}

/// Tells of every child that ends. A single service that ends by itself is an end with a fault.
async fn watch(action: Action, children: &mut Vec<Child>, tell: impl Fn(&str)) -> Exit {
    loop {
        let (child, how) = first_ended(children).await;
        let child = children.remove(child);
        let fault = format!("{} (pid {}) ended: {how}", child.name, child.pid);
        if matches!(action, Action::Service(_)) {
            return Exit::Failed(fault);
        }
        tell(&format!("{fault}; bring it back with: cargo demo service {}", child.name));
    }
}

/// The place of the first child that ends, and how it did. Waits for ever when there is none.
async fn first_ended(children: &mut [Child]) -> (usize, String) {
    let ends = children
        .iter_mut()
        .enumerate()
        .map(|(place, child)| Box::pin(async move { (place, child.ended().await) }));
    let mut ends: Vec<_> = ends.collect();
    std::future::poll_fn(|context| {
        let ready = ends.iter_mut().find_map(|end| match end.as_mut().poll(context) {
            std::task::Poll::Ready(ended) => Some(ended),
            std::task::Poll::Pending => None,
        });
        ready.map_or(std::task::Poll::Pending, std::task::Poll::Ready)
    })
    .await
}

/// Ends all children at once.
async fn end(children: &mut [Child]) {
    let by = Instant::now() + END_WITHIN;
    for child in children.iter_mut() {
        child.tell_to_end();
    }
    for child in children {
        child.end(by).await;
    }
}

fn announce(action: Action, places: &Places, children: &[Child]) {
    match action {
        Action::Service(name) => {
            let pid = children.first().map_or(0, |child| child.pid);
            say(&format!(
                "{} is up at http://{}, pid {pid}; Ctrl-C ends it",
                name.text(),
                places.address(name)
            ));
        }
        _ => say(&guide::guide(places, children)),
    }
}

/// Completes on SIGINT, SIGTERM or SIGHUP (the terminal was closed).
fn told_to_end() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use tokio::net::TcpListener;

    fn shell(script: &'static str) -> Child {
        let (path, directory) = (Path::new("/bin/sh"), Path::new("/"));
        let program = Program {
            name: "shell",
            path,
            arguments: &["-c", script],
            directory,
            environment: &[],
        };
        Child::start(&program).unwrap()
    }

    async fn nowhere() -> (SocketAddr, &'static str) {
        (TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap(), "/health")
    }

    #[tokio::test]
    async fn a_child_that_dies_while_starting_is_told_with_its_last_lines() {
        let mut children = [shell("cat"), shell("echo no disk; exit 3")];
        let fault = all_up(&mut children, &[nowhere().await, nowhere().await]).await.unwrap_err();
        assert_eq!(fault, "shell ended while starting: exit status 3\nits last lines:\n  no disk");
        end(&mut children).await;
    }

    #[tokio::test]
    async fn the_demo_goes_on_when_one_is_killed_later() {
        let mut children = vec![shell("kill -9 $$"), shell("cat")];
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let text = tokio::select! {
            _ = watch(Action::Demo, &mut children, |text| tell.send(text.to_owned()).unwrap()) => panic!("it goes on"),
            text = told.recv() => text.unwrap(),
        };
        assert!(
            text.contains("killed by signal 9; bring it back with: cargo demo service shell"),
            "{text}"
        );
        assert_eq!(children.len(), 1);
        end(&mut children).await;
    }

    #[tokio::test]
    async fn a_single_service_that_ends_is_a_failure() {
        let mut children = vec![shell("exit 5")];
        let Exit::Failed(fault) = watch(Action::Service(Name::Auth), &mut children, say).await
        else {
            panic!("it ended by itself");
        };
        assert!(fault.ends_with("ended: exit status 5"), "{fault}");
    }

    #[tokio::test]
    async fn with_no_children_left_there_is_nothing_to_tell() {
        let waited = timeout(Duration::from_millis(10), first_ended(&mut [])).await;
        assert!(waited.is_err());
    }
}
