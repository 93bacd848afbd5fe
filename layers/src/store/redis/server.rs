//! The way to the one server that holds the state, whatever stands around it.
//!
//! All keys bear one hash tag, so they lie on one server, also in a cluster. Finding it is all that differs between a single
//! server, Sentinels and a cluster: an address, a question to the Sentinels, or the `MOVED` of any node. Whatever changes
//! later (a failover, a resharding) shows as an error of a connection, which is thrown away, and the way is looked for anew.

use std::{
    fmt,
    time::{Duration, Instant},
};

use ::redis::{ErrorKind, RedisError, RedisResult, cmd};

use super::{
    Settings, Tls, Topology,
    connection::{Connection, Node},
    tls,
};
use crate::store::StoreError;

/// After a failed attempt to connect, questions fail at once for this long: a server that doesn't answer costs an operator
/// one time-out, not one per flip.
const REST: Duration = Duration::from_millis(500);

/// Where the server is, as far as it can be known without asking.
#[derive(Clone)]
pub(super) struct Server {
    node: Node,
    others: Vec<Node>,
    topology: Topology,
    tls: Tls,
    /// A key of ours: whoever holds it holds all.
    key: String,
    pub(super) timeout: Duration,
}

impl Server {
    pub(super) fn new(settings: &Settings, key: String) -> Result<Self, StoreError> {
        let urls = match &settings.topology {
            Topology::Single => &[][..],
            Topology::Sentinel { sentinels, .. } => sentinels,
            Topology::Cluster { nodes } => nodes,
        };
        let node = parse(&settings.url)?;
        let others: Vec<_> = urls.iter().map(|url| parse(url)).collect::<Result<_, _>>()?;
        if others.iter().chain([&node]).any(|node| node.is_over_tls) {
            tls::check(&settings.tls).map_err(|what| StoreError::Unavailable { what })?;
        }
        Ok(Self {
            node,
            others,
            topology: settings.topology.clone(),
            tls: settings.tls.clone(),
            key,
            timeout: settings.timeout,
        })
    }

    fn connect(&self) -> RedisResult<Connection> {
        match &self.topology {
            Topology::Single => self.open(&self.node),
            Topology::Sentinel { master, .. } => self.ask_sentinels(master),
            Topology::Cluster { .. } => self.ask_nodes(),
        }
    }

    /// The first Sentinel that knows the master is believed, if that one says of itself that it is.
    fn ask_sentinels(&self, master: &str) -> RedisResult<Connection> {
        let mut error = RedisError::from((ErrorKind::Io, "no Sentinel knows the master"));
        for sentinel in &self.others {
            let found = self.open(sentinel).and_then(|mut asked| {
                let (host, port): (String, u16) =
                    cmd("SENTINEL").arg("get-master-addr-by-name").arg(master).query(&mut asked)?;
                let mut connection = self.open(&self.node.at(&host, port))?;
                let (role,): (String,) = first(cmd("ROLE").query(&mut connection)?);
                if role == "master" {
                    Ok(connection)
                } else {
                    Err((ErrorKind::Io, "the Sentinels' master is none yet").into())
                }
            });
            match found {
                Ok(connection) => return Ok(connection),
                Err(failed) => error = failed,
            }
        }
        Err(error)
    }

    /// Any node either holds our keys or says who does.
    fn ask_nodes(&self) -> RedisResult<Connection> {
        let mut error = RedisError::from((ErrorKind::Io, "no node of the cluster answers"));
        for node in std::iter::once(&self.node).chain(&self.others) {
            match self.open(node).and_then(|connection| self.follow(node, connection)) {
                Ok(connection) => return Ok(connection),
                Err(failed) => error = failed,
            }
        }
        Err(error)
    }

    fn follow(&self, node: &Node, mut asked: Connection) -> RedisResult<Connection> {
        match cmd("EXISTS").arg(&self.key).exec(&mut asked) {
            Ok(()) => Ok(asked),
            Err(error) => self.open(&moved(node, &error).ok_or(error)?),
        }
    }

    fn open(&self, node: &Node) -> RedisResult<Connection> {
        Connection::open(node, &self.tls, self.timeout)
    }

    /// Sends a command for a key of no particular place.
    pub(super) fn tell(
        &self,
        connection: &mut Connection,
        command: &::redis::Cmd,
    ) -> RedisResult<()> {
        match command.exec(connection) {
            Err(error) if matches!(self.topology, Topology::Cluster { .. }) => {
                let node = moved(&self.node, &error).ok_or(error)?;
                command.exec(&mut self.open(&node)?)
            }
            done => done,
        }
    }
}

fn parse(url: &str) -> Result<Node, StoreError> {
    // What is wrong with it isn't quoted: there may be a password in it.
    Node::parse(url).ok_or_else(|| StoreError::Unavailable {
        what: "the address of Redis must read redis://[user:password@]host[:port][/database], or rediss:// for TLS"
            .to_owned(),
    })
}

fn first<T>(values: (T, ::redis::Value, ::redis::Value)) -> (T,) {
    (values.0,)
}

/// The node that a `MOVED` names. One without a host is the host that was asked.
fn moved(node: &Node, error: &RedisError) -> Option<Node> {
    let (address, _) = error.redirect_node()?;
    let (host, port) = address.rsplit_once(':')?;
    let host = if host.is_empty() { &node.host } else { host };
    Some(node.at(host, port.parse().ok()?))
}

/// One connection to the server, made when it is needed and thrown away at the first error.
pub(super) struct Line {
    pub(super) server: Server,
    connection: Option<Connection>,
    rests_until: Option<Instant>,
    /// How many outages it knows of.
    outages: u64,
}

impl Line {
    pub(super) const fn new(server: Server) -> Self {
        Self { server, connection: None, rests_until: None, outages: 0 }
    }

    /// Asks the server, in the time that a question may take.
    pub(super) fn ask<T>(
        &mut self,
        question: impl FnOnce(&mut Connection) -> RedisResult<T>,
    ) -> Result<T, StoreError> {
        if self.connection.is_none() && self.rests_until.is_some_and(|until| Instant::now() < until)
        {
            return Err(StoreError::Unavailable {
                what: "it didn't answer a moment ago".to_owned(),
            });
        }
        self.ask_now(question)
    }

    /// The same without a rest after a failure: for whoever keeps a pace of its own.
    pub(super) fn ask_now<T>(
        &mut self,
        question: impl FnOnce(&mut Connection) -> RedisResult<T>,
    ) -> Result<T, StoreError> {
        let connected = match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.server.connect(),
        };
        let answer = connected.and_then(|mut connection| {
            let answer = question(&mut connection)?;
            self.connection = Some(connection);
            Ok(answer)
        });
        self.rests_until = answer.is_err().then(|| Instant::now() + REST);
        answer.map_err(|error| StoreError::Unavailable { what: words(&error) })
    }

    /// Somebody else has reached the server, after so many outages. What ended one connection may have ended this one too, so
    /// it is made anew rather than found dead by a question.
    pub(super) fn wake(&mut self, outages: u64) {
        self.rests_until = None;
        if self.outages != outages {
            self.outages = outages;
            self.connection = None;
        }
    }

    pub(super) const fn is_connected(&self) -> bool {
        self.connection.is_some()
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_connected() { "connected" } else { "not connected" })
    }
}

/// What went wrong, in the words of the server where it has some. They never have the password in them.
fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}
