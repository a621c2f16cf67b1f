//! How a server is put together: what the owner gives, what is checked, which tasks start.
//! The listener comes bound, or as an address: no port is chosen here. Numbers are `server_config`'s, contradictions in
//! them `contradiction`'s; the tasks are `server_task.rs` and `listener.rs`. A single connection for tools needs no builder: `connection.rs`.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, atomic::AtomicUsize},
};

#[cfg(feature = "address-book")]
use std::path::PathBuf;

use futures_core::Stream;
use identity::CurveHandle;
use rand::{Rng, rand_core::UnwrapErr, rngs::SysRng};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, broadcast, mpsc},
    task::JoinSet,
};

use super::{
    Handle, Server,
    config_error::ConfigError,
    intake::Intake,
    keeper::{BookStore, Keeper},
    listener::{accept_from, bind_listener},
    node_info::NodeInfo,
    now,
    pool::Pool,
    protocol::Protocol,
    sealer::Sealer,
    server_task::ServerTask,
    shared::Common,
    spawn,
    throttle::Throttle,
    traffic::{Counts, Traffic},
    trim::trim_buffers,
};
use crate::{
    BookEntry, BufferPool, CapabilityName, CommandError, LocalCapability, SessionConfig,
    config::MAX_MESSAGE_COUNT,
    dialer::Candidate,
    server::{self, ServerCounts},
    server_config::{MAX_LISTENERS, ServerConfig},
};

/// The client's name unless the owner gives one.
const CLIENT_NAME: &str = concat!("eth-rlpx/v", env!("CARGO_PKG_VERSION"));

/// Where connections come from.
enum Door {
    Open(TcpListener),
    At(SocketAddr),
}

impl Door {
    fn open(self) -> Result<TcpListener, ConfigError> {
        match self {
            Self::Open(listener) => Ok(listener),
            Self::At(address) => {
                bind_listener(address).map_err(|error| ConfigError::Listen { address, error })
            }
        }
    }
}

/// An address book that is asked for.
#[cfg(feature = "address-book")]
struct Book(PathBuf);

/// Without the feature there is none to ask for.
#[cfg(not(feature = "address-book"))]
enum Book {}

/// An open address book and what is in it.
type OpenBook = (Option<Arc<dyn BookStore>>, Option<Vec<BookEntry>>);

impl Book {
    #[cfg(feature = "address-book")]
    fn open(self) -> Result<OpenBook, ConfigError> {
        let (file, stored) = super::book::BookFile::open(&self.0)?;
        Ok((Some(Arc::new(file)), Some(stored)))
    }

    #[cfg(not(feature = "address-book"))]
    fn open(self) -> Result<OpenBook, ConfigError> {
        match self {}
    }
}

/// What a server is made of; made by [`Server::builder`].
pub struct ServerBuilder {
    curve: CurveHandle,
    client_name: String,
    doors: Vec<Door>,
    protocols: Vec<Arc<dyn Protocol>>,
    config: ServerConfig,
    candidates: Option<Pin<Box<dyn Stream<Item = Candidate> + Send>>>,
    book: Option<Book>,
}

impl ServerBuilder {
    pub(super) fn new(curve: CurveHandle) -> Self {
        Self {
            curve,
            client_name: CLIENT_NAME.to_owned(),
            doors: Vec::new(),
            protocols: Vec::new(),
            config: ServerConfig::default(),
            candidates: None,
            book: None,
        }
    }

    /// The client's name in Hello. Default: this crate's name and version.
    #[must_use]
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.client_name = name.into();
        self
    }

    /// Accepts connections from `listener`, and from others that are given: a node with both families has two. Default:
    /// nobody comes in.
    #[must_use]
    pub fn listener(mut self, listener: TcpListener) -> Self {
        self.doors.push(Door::Open(listener));
        self
    }

    /// Accepts connections at `address` too, as [`bind_listener`](crate::bind_listener) does. When one of several cannot be had,
    /// none is.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.doors.push(Door::At(address));
        self
    }

    /// Offers a protocol.
    #[must_use]
    pub fn protocol(mut self, protocol: impl Protocol) -> Self {
        self.protocols.push(Arc::new(protocol));
        self
    }

    /// Limits, static and trusted peers, intervals and waits.
    #[must_use]
    pub fn config(mut self, config: ServerConfig) -> Self {
        self.config = config;
        self
    }

    /// Whoever finds nodes to dial, with their records where it has them: those are dialed that a protocol wants
    /// ([`Protocol::wants`]). Polled only while one is wanted.
    #[must_use]
    pub fn candidates(mut self, candidates: impl Stream<Item = Candidate> + Send + 'static) -> Self {
        self.candidates = Some(Box::pin(candidates));
        self
    }

    /// Keeps the nodes that have served in the file at `path`, made when it is missing, and dials them at the next start
    /// before anybody else is found. One process has the file open at a time; a damaged one is renamed to
    /// `<name>.corrupt-<number>`, and a new one made. Default: nothing is kept.
    #[cfg(feature = "address-book")]
    #[must_use]
    pub fn address_book(mut self, path: impl Into<PathBuf>) -> Self {
        self.book = Some(Book(path.into()));
        self
    }

    /// Starts the server's tasks, in the runtime this is called from.
    ///
    /// # Errors
    /// [`ConfigError`] when a protocol, a peer or the listener cannot be used, or the configuration contradicts itself.
    pub fn start(self) -> Result<Server, ConfigError> {
        let capabilities = capabilities(&self.protocols)?;
        check_peers(&self.config, &self.curve)?;
        self.config.check(!self.doors.is_empty(), self.candidates.is_some())?;
        if self.doors.len() > MAX_LISTENERS {
            return Err(ConfigError::Listeners { found: self.doors.len() });
        }
        let listeners = self.doors.into_iter().map(Door::open).collect::<Result<Vec<_>, _>>()?;
        let local_addrs = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
        // Last, so that nothing is written when something else is wrong.
        let (store, stored) = self.book.map_or(Ok((None, None)), |book| book.open())?;
        let public_key = self.curve.node_key().public_key();
        let mut session = SessionConfig::new(public_key, self.client_name, capabilities);
        session.hello.listen_port = local_addrs.first().map_or(0, SocketAddr::port);
        session.timeouts = self.config.timeouts;
        session.limits = self.config.limits.sessions;
        session.buffers = BufferPool::of(&self.config.limits.buffers);

        let node_info = NodeInfo {
            public_key,
            node_id: public_key.node_id(),
            client_name: session.hello.client_name.clone(),
            local_addrs,
            capabilities: session.hello.capabilities.clone(),
            max_peers: self.config.max_peers,
        };
        let (times, limits) = (self.config.times.clone(), self.config.limits.clone());
        let pool = Pool::new(&limits);
        let throttle = Throttle::new(&self.config.rates);
        let mut machine = server::Server::new(now(), self.config, public_key, UnwrapErr(SysRng).next_u64());
        if let Some(stored) = stored {
            machine.open_book(now(), stored);
        }
        let ServerCounts { refusals, left, turned_away } = machine.counts().clone();
        let rejects = session.rejects.clone();
        let traffic = Arc::new(Traffic::of(&session));
        let counts = Counts { rejects, refusals, left, turned_away, traffic };
        let (reporter, reports) = mpsc::channel(limits.queues.reports);
        let (commander, commands) = mpsc::channel(limits.queues.commands);
        let (events, _) = broadcast::channel(limits.queues.events);
        let common = Common {
            session: Arc::new(session),
            protocols: self.protocols,
            curve: self.curve,
            times,
            counts: counts.clone(),
            pool,
            throttle,
            reports: reporter,
            closers: Semaphore::new(limits.admission.graceful_closers),
            sealer: Sealer::new(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(trim_buffers(common.session.buffers.clone()));
        let accepted = (!listeners.is_empty())
            .then(|| accept_from(listeners, &limits.queues, &counts.refusals, &mut tasks));
        let intake = Intake { commands, reports, accepted, candidates: self.candidates, tasks };
        let peer_count = Arc::new(AtomicUsize::new(0));
        let (observed, peers) = (events.downgrade(), Arc::clone(&peer_count));
        let handle = Handle { commands: commander, events: observed, counts, peer_count: peers, node_info };
        let server = Server::new(handle);
        let keeper = Keeper::new(store);
        spawn(ServerTask::new(machine, Arc::new(common), intake, events, peer_count, keeper).run());
        Ok(server)
    }
}

pub(super) fn capabilities(protocols: &[Arc<dyn Protocol>]) -> Result<Vec<LocalCapability>, ConfigError> {
    let mut capabilities: Vec<LocalCapability> = Vec::new();
    for protocol in protocols {
        let text = || protocol.name().to_owned();
        let name =
            CapabilityName::new(protocol.name()).map_err(|_| ConfigError::ProtocolName { name: text() })?;
        if capabilities.iter().any(|other| other.capability.name == name) {
            return Err(ConfigError::ProtocolTwice { name: text() });
        }
        let versions = protocol.versions();
        let codes = 1..=MAX_MESSAGE_COUNT;
        if versions.is_empty() || !versions.iter().all(|version| codes.contains(&version.message_count)) {
            return Err(ConfigError::ProtocolVersions { name: text() });
        }
        capabilities.extend(versions.iter().map(|version| LocalCapability {
            max_message_len: protocol.max_message_len(),
            ..LocalCapability::new(name, version.version, version.message_count)
        }));
    }
    Ok(capabilities)
}

fn check_peers(config: &ServerConfig, curve: &CurveHandle) -> Result<(), CommandError> {
    let (own, lists) = (curve.node_key().node_id(), &config.limits.lists);
    if config.static_peers.len() > lists.static_peers || config.trusted.len() > lists.trusted {
        return Err(CommandError::Full);
    }
    if config.trusted.contains(&own) || config.static_peers.iter().any(|enode| enode.node_id() == own) {
        return Err(CommandError::Own);
    }
    if config.static_peers.iter().any(|enode| enode.tcp == 0) { Err(CommandError::NoPort) } else { Ok(()) }
}
