//! Where a store in Redis can lie: on one server, behind three Sentinels, in a cluster of three. Each is made of real
//! processes on the loopback address, and can be harmed.

pub(crate) mod certificates;
mod relay;
pub(crate) mod server;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use portcullis::store::{
    RedisStore, Store,
    redis::{Settings, Topology},
};
use tempfile::tempdir;

use self::{
    relay::Relay,
    server::{Over, Server, free_port, until},
};
use crate::conformance::{Harm, Kind};

/// One such place.
pub(crate) struct Place {
    pub(crate) servers: Vec<Server>,
    sentinels: Vec<Server>,
    is_cluster: bool,
    relay: Relay,
}

const MASTER: &str = "mine";

impl Place {
    pub(crate) fn one_server(over: Over<'_>) -> Self {
        Self::of(vec![Server::that_keeps(over, &[])], Vec::new(), false)
    }

    /// A master, a replica, and three Sentinels that know both.
    pub(crate) fn three_sentinels(over: Over<'_>) -> Self {
        let master = Server::that_keeps(over, &[]);
        let port = master.port.to_string();
        let replica = Server::that_keeps(over, &["--replicaof", "127.0.0.1", &port]);
        until("the replica follows", || {
            replica.cli(&["INFO", "replication"]).contains("master_link_status:up")
        });
        let sentinels: Vec<Server> = (0..3).map(|_| sentinel(over, master.port)).collect();
        let place = Self::of(vec![master, replica], sentinels, false);
        until("the Sentinels know everybody", || place.is_settled());
        place
    }

    pub(crate) fn cluster_of_three(over: Over<'_>) -> Self {
        let encrypts = if over.is_some() { &["--tls-cluster", "yes"][..] } else { &[] };
        let node = |_| {
            let bus = free_port().to_string();
            let cluster = ["--cluster-enabled", "yes", "--cluster-port", &bus];
            Server::that_keeps(over, &[&cluster, encrypts].concat())
        };
        let nodes: Vec<Server> = (0..3).map(node).collect();
        for node in &nodes[1..] {
            let bus = node.cli(&["CONFIG", "GET", "cluster-port"]);
            let bus = bus.lines().last().unwrap();
            nodes[0].cli(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), bus]);
        }
        let thirds = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
        for (node, (first, last)) in nodes.iter().zip(thirds) {
            node.cli(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
        }
        let place = Self::of(nodes, Vec::new(), true);
        until("the cluster is whole", || place.is_settled());
        place
    }

    fn of(servers: Vec<Server>, sentinels: Vec<Server>, is_cluster: bool) -> Self {
        let relay = Relay::to(servers.iter().chain(&sentinels).map(|server| server.port));
        Self { servers, sentinels, is_cluster, relay }
    }

    /// Whether all its parts agree on how it is.
    fn is_settled(&self) -> bool {
        if self.is_cluster {
            let is_whole =
                |node: &Server| node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
            return self.servers.iter().all(is_whole);
        }
        let Some(master) = self.master() else { return false };
        // One that comes back takes itself for the master until the Sentinels tell it.
        if self.servers.iter().filter(|server| server.cli(&["ROLE"]).starts_with("master")).count()
            > 1
        {
            return false;
        }
        self.sentinels.iter().all(|sentinel| {
            let told = sentinel.cli(&["SENTINEL", "MASTER", MASTER]);
            let after = |name: &str| told.lines().skip_while(|line| *line != name).nth(1);
            after("port") == Some(&master.port.to_string())
                && after("flags") == Some("master")
                && after("num-other-sentinels") == Some("2")
                && after("num-slaves") == Some("1")
        })
    }

    /// Who the Sentinels say is the master; without them, the one that there is.
    fn master(&self) -> Option<&Server> {
        let Some(sentinel) = self.sentinels.first() else { return self.servers.first() };
        let told = sentinel.cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]);
        let port = told.lines().nth(1)?.to_owned();
        let master = self.servers.iter().find(|server| server.port.to_string() == port)?;
        master.cli(&["ROLE"]).starts_with("master").then_some(master)
    }

    fn fails_over_after(&self, ms: &str) {
        for sentinel in &self.sentinels {
            let told = sentinel.cli(&["SENTINEL", "SET", MASTER, "down-after-milliseconds", ms]);
            assert_eq!(told, "OK");
        }
    }

    /// Whoever has the keys of a namespace.
    pub(crate) fn holder(&self, namespace: &str) -> &Server {
        let key = format!("{{{namespace}}}:head");
        let holds = |node: &&Server| !node.cli(&["EXISTS", &key]).contains("MOVED");
        if self.is_cluster {
            self.servers.iter().find(holds).unwrap()
        } else {
            self.master().expect("it is settled")
        }
    }

    /// How a store is reached that lies here. From afar: by a way that can be cut.
    pub(crate) fn settings(&self, namespace: &str, from_afar: bool) -> Settings {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let port = |server: u16| if from_afar { self.relay.port(server) } else { server };
        let by = |server: u16| (server.to_string(), port(server).to_string());
        let url = |server: &Server| {
            let (own, taken) = by(server.port);
            server.url().replace(&own, &taken)
        };
        let mut settings = Settings::new(url(&self.servers[0]));
        if self.is_cluster {
            settings.topology =
                Topology::Cluster { nodes: self.servers[1..].iter().map(url).collect() };
        } else if !self.sentinels.is_empty() {
            let sentinels = self.sentinels.iter().map(url).collect();
            settings.topology = Topology::Sentinel { sentinels, master: MASTER.to_owned() };
        }
        settings.namespace = namespace.to_owned();
        settings.instance = format!("test-{}", COUNT.fetch_add(1, Relaxed));
        // A machine that builds six other things takes its time.
        settings.timeout = Duration::from_secs(2);
        settings
    }
}

/// A Sentinel keeps its configuration in a file of its own.
fn sentinel(over: Over<'_>, master: u16) -> Server {
    Server::in_a(over, tempdir().unwrap(), |home, lines| {
        let file = home.join("sentinel.conf");
        let lines = lines.iter().map(|(name, value)| format!("{name} {value}\n"));
        let text = lines.collect::<String>()
            + &format!(
                "sentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
                 sentinel down-after-milliseconds {MASTER} 500\n\
                 sentinel failover-timeout {MASTER} 3000\n"
            );
        std::fs::write(&file, text).unwrap();
        vec![file.to_string_lossy().into_owned(), "--sentinel".to_owned()]
    })
}

/// A store at a place, in a namespace of its own.
pub(crate) struct InRedis {
    place: Arc<Place>,
    namespace: String,
}

impl InRedis {
    pub(crate) fn at(place: &Arc<Place>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let namespace = format!("promise-{}", COUNT.fetch_add(1, Relaxed));
        Self { place: place.clone(), namespace }
    }

    fn holder(&self) -> &Server {
        self.place.holder(&self.namespace)
    }
}

impl Kind for InRedis {
    fn open(&self) -> Box<dyn Store> {
        Box::new(RedisStore::open(self.place.settings(&self.namespace, false)).unwrap())
    }

    fn open_afar(&self) -> Option<Box<dyn Store>> {
        Some(Box::new(RedisStore::open(self.place.settings(&self.namespace, true)).unwrap()))
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn cut(&self) {
        self.place.relay.cut();
    }

    fn heal(&self) {
        self.place.relay.heal();
    }

    fn put_aside(&self) {
        if self.place.sentinels.is_empty() {
            return self.holder().put_aside();
        }
        // The replica hears of nothing that comes now, not even from its own socket when it goes on.
        let master = self.holder();
        let replica = self.place.servers.iter().find(|server| server.port != master.port).unwrap();
        let has_it = || replica.cli(&["EXISTS", &format!("{{{}}}:head", self.namespace)]) == "1";
        until("the replica has what was saved so far", has_it);
        replica.signal("-STOP");
        assert_eq!(master.cli(&["CLIENT", "KILL", "TYPE", "replica"]), "1");
    }

    fn suffers(&self, harm: Harm) -> bool {
        let master = self.holder();
        match harm {
            Harm::Gap => {
                let log = format!("{{{}}}:log", self.namespace);
                assert_ne!(master.cli(&["XTRIM", &log, "MAXLEN", "1"]), "0");
            }
            Harm::Reset => drop(master.cli(&["FLUSHALL"])),
            Harm::Rollback if self.place.sentinels.is_empty() => master.go_back(),
            Harm::Rollback => {
                // Promoted without what it didn't hear of.
                master.kill();
                let others = self.place.servers.iter().filter(|other| other.port != master.port);
                others.for_each(|replica| replica.signal("-CONT"));
                until("there is another master", || {
                    self.place.master().is_some_and(|new| new.port != master.port)
                });
                master.start_again();
            }
            // The middle of the last commit, which a beat and an entry of the audit follow. No replica stands in.
            Harm::TornWrite => {
                self.place.fails_over_after("60000");
                master.tear(&format!("{{{}}}:states", self.namespace));
                self.place.fails_over_after("500");
            }
            Harm::Restart => {
                master.kill();
                master.start_again();
            }
        }
        until("everything is in its place again", || self.place.is_settled());
        true
    }
}
