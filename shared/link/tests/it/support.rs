//! A node that does what requests ask of it, and peers that only know the frames.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::future::LocalBoxFuture;
use tidepool_core::{Kind, PoolName, Priority, RequestId, TraceContext, WorkerId};
use tidepool_link::{
    Answer, CallEnd, Connected, Control, ControlEvent, Host, Link, LinkConfig, Local, Outcome,
    Peer, Secret, Server, Steering, Tcp, Transport,
};
use tidepool_wire::Format;
use tidepool_wire::frame::{
    FRAME_BODY_MAX, Frame, Hello, HelloLimits, LinkKind, Ping, Reject, RejectReason, Request,
    Response, Role, VERSIONS, take_frame,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// What a test waits for at most: far longer than anything takes.
const LONG: Duration = Duration::from_secs(20);

/// Runs a test on one thread, as links need it.
pub(crate) fn local<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(LONG, run)
            .await
            .expect("the test ends")
    })
}

pub(crate) fn config(role: Role, secret: Option<&str>) -> LinkConfig {
    let local = Local {
        role,
        name: format!("a {}", role.as_str()),
        instance: tidepool_link::instance_id().expect("randomness"),
    };
    let secret = secret.map(|secret| Secret::new(secret).expect("a secret"));
    LinkConfig::new(local, secret)
}

pub(crate) fn balancer() -> LinkConfig {
    config(Role::Balancer, None)
}

pub(crate) fn node() -> LinkConfig {
    config(Role::Node, None)
}

pub(crate) fn request(kind: &str) -> Request {
    Request {
        request_id: RequestId(uuid::Uuid::from_u128(7)),
        pool: PoolName::new("pool").expect("a name"),
        kind: Kind::new(kind).expect("a name"),
        trace: TraceContext::root(false),
        remaining_us: 1_000_000,
        priority: Priority::default(),
        idempotent: true,
        input_format: Format::Json,
        reply_format: Format::Json,
        session: None,
    }
}

pub(crate) fn response() -> Response {
    Response {
        format: Format::Json,
        worker: Some(WorkerId::from_text("pool-1")),
        queued_us: 1,
        work_us: 2,
        failed: None,
    }
}

pub(crate) fn far() -> Instant {
    Instant::now() + LONG
}

/// A call that is answered; its payload.
pub(crate) async fn answered(link: &Link, kind: &str, payload: impl Into<Bytes>) -> Bytes {
    let call = link.call(&request(kind), payload.into(), far());
    match call.expect("there is room").await {
        CallEnd::Answered(_, payload) => payload,
        end => panic!("{kind}: {end:?}"),
    }
}

/// What happened at a host, and a way to wait for it.
#[derive(Clone)]
pub(crate) struct Log(watch::Sender<Vec<String>>);

impl Log {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }

    pub(crate) fn add(&self, line: impl Into<String>) {
        self.0.send_modify(|lines| lines.push(line.into()));
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    /// Waits until the line is there that often.
    pub(crate) async fn times(&self, line: &str, times: usize) {
        let is_there = |lines: &Vec<String>| lines.iter().filter(|l| *l == line).count() >= times;
        self.0.subscribe().wait_for(is_there).await.expect("a log");
    }
}

/// Writes down that a request was given up.
struct Given(Log, bool);

impl Given {
    fn finish(mut self) {
        self.1 = true;
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        self.0.add(if self.1 { "finished" } else { "dropped" });
    }
}

/// Does what the kind of a request says.
pub(crate) struct Script {
    pub(crate) log: Log,
    /// Held requests go on when this is set.
    pub(crate) gate: watch::Sender<bool>,
    pub(crate) steerings: RefCell<Vec<Steering>>,
    /// The version of the link that the last request came by.
    pub(crate) version: Cell<u8>,
    pub(crate) worker: WorkerId,
}

impl Script {
    pub(crate) fn new(worker: &str) -> Rc<Self> {
        Rc::new(Self {
            log: Log::new(),
            gate: watch::Sender::new(false),
            steerings: RefCell::default(),
            version: Cell::default(),
            worker: WorkerId::from_text(worker),
        })
    }

    fn answer(&self, payload: Bytes) -> Outcome {
        let response = Response {
            worker: Some(self.worker.clone()),
            ..response()
        };
        Outcome::Answered(response, payload)
    }
}

impl Host for Script {
    fn request(&self, peer: &Rc<Peer>, request: Request, payload: Bytes) -> Answer {
        self.version.set(peer.version);
        match request.kind.as_str() {
            "echo" => Answer::Now(self.answer(payload)),
            "reject" => Answer::Now(Outcome::Rejected(Reject {
                reason: RejectReason::WouldMissDeadline,
                retry_after_ms: 40,
            })),
            "large" => Answer::Now(self.answer(Bytes::from(vec![7; 3_000_000]))),
            _ => {
                let (log, mut gate) = (self.log.clone(), self.gate.subscribe());
                let outcome = self.answer(payload);
                log.add("held");
                let given = Given(log, false);
                Answer::Later(Box::pin(async move {
                    gate.wait_for(|is_open| *is_open).await.expect("a gate");
                    given.finish();
                    outcome
                }))
            }
        }
    }

    fn control_up(&self, peer: &Rc<Peer>, steering: Steering) {
        self.log.add(format!("up {}", peer.name));
        self.steerings.borrow_mut().push(steering);
    }

    fn demand(&self, _peer: &Rc<Peer>, ping: Ping) {
        self.log
            .add(format!("ping {} {}", ping.nonce, ping.demand.len()));
    }

    fn control_down(&self, _peer: &Rc<Peer>) {
        // By then the host can tell which link it was.
        let steerings = self.steerings.borrow();
        let is_known = steerings.last().is_some_and(Steering::is_closed);
        self.log
            .add(if is_known { "down" } else { "down, unknown" });
    }
}

/// A node on this thread.
pub(crate) struct Node {
    pub(crate) server: Server,
    pub(crate) host: Rc<Script>,
    pub(crate) addr: SocketAddr,
}

pub(crate) fn start(config: LinkConfig) -> Node {
    start_server(Server::new(config))
}

pub(crate) fn start_server(server: Server) -> Node {
    let listener = tidepool_link::bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let addr = listener.local_addr().expect("an address");
    let host = Script::new("pool-1");
    let (accepting, running, hosting) = (server.clone(), server.clone(), Rc::clone(&host));
    tokio::task::spawn_local(async move { accepting.accept(listener).await });
    tokio::task::spawn_local(async move { running.run(hosting).await });
    Node { server, host, addr }
}

impl Node {
    pub(crate) fn tcp(&self) -> Tcp {
        Tcp::new(self.addr.to_string())
    }

    pub(crate) fn link(&self) -> Link {
        Link::open(self.tcp(), balancer())
    }

    pub(crate) fn control(&self) -> Control {
        Control::open(self.tcp(), balancer())
    }

    /// Waits until this many connections are open.
    pub(crate) async fn connections(&self, count: usize) {
        while self.server.connections() != count {
            tokio::task::yield_now().await;
        }
    }
}

pub(crate) async fn up(control: &mut Control) -> Rc<Peer> {
    match control.next().await {
        Some(ControlEvent::Up(peer)) => peer,
        event => panic!("{event:?}"),
    }
}

/// One end that only knows frames, for peers that misbehave.
pub(crate) struct Raw<T> {
    pub(crate) io: T,
    buffer: BytesMut,
}

impl Raw<TcpStream> {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self::new(TcpStream::connect(addr).await.expect("a connection"))
    }

    /// With little room for what is not read; the system would keep megabytes otherwise.
    pub(crate) async fn connect_narrow(addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(8_192).expect("a buffer");
        Self::new(socket.connect(addr).await.expect("a connection"))
    }
}

pub(crate) fn hello(role: Role, kind: LinkKind) -> Hello {
    Hello {
        versions: VERSIONS,
        role,
        name: "raw".to_owned(),
        instance: [9; 16],
        kind,
        nonce: [1; 32],
        limits: HelloLimits {
            frame_bytes: 1 << 20,
            message_bytes: 1 << 24,
            in_flight: 100,
        },
        mac: None,
        refused: None,
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Raw<T> {
    pub(crate) fn new(io: T) -> Self {
        Self {
            io,
            buffer: BytesMut::new(),
        }
    }

    pub(crate) async fn send(&mut self, frame: Frame) {
        let mut out = Vec::new();
        frame.put(&mut out);
        self.io.write_all(&out).await.expect("it is taken");
    }

    /// The next frame, or `None` at the end.
    pub(crate) async fn receive(&mut self) -> Option<Frame> {
        loop {
            let raw = take_frame(&mut self.buffer, FRAME_BODY_MAX).expect("a frame");
            if let Some(raw) = raw {
                return Some(raw.parse().expect("a frame"));
            }
            if self.io.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn receive_hello(&mut self) -> Hello {
        match self.receive().await {
            Some(Frame::Hello(hello)) => *hello,
            frame => panic!("{frame:?}"),
        }
    }

    /// Greets as a node without a secret.
    pub(crate) async fn greet_as_node(&mut self) {
        let theirs = self.receive_hello().await;
        self.send(Frame::Hello(Box::new(hello(Role::Node, theirs.kind))))
            .await;
        self.receive_hello().await;
    }

    /// Greets as a balancer without a secret.
    pub(crate) async fn greet_as_balancer(&mut self, kind: LinkKind) {
        let ours = hello(Role::Balancer, kind);
        self.send(Frame::Hello(Box::new(ours.clone()))).await;
        self.receive_hello().await;
        self.send(Frame::Hello(Box::new(ours))).await;
    }
}

/// A node that is only a socket.
pub(crate) struct RawNode(pub(crate) TcpListener);

impl RawNode {
    pub(crate) async fn bind() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.expect("a port"))
    }

    pub(crate) fn tcp(&self) -> Tcp {
        Tcp::new(self.0.local_addr().expect("an address").to_string())
    }

    pub(crate) async fn accept(&self) -> Raw<TcpStream> {
        Raw::new(self.0.accept().await.expect("a connection").0)
    }
}

/// Gives out one end of a pipe, once.
pub(crate) struct Pipe {
    end: RefCell<Option<DuplexStream>>,
    is_loopback: bool,
}

impl Pipe {
    /// A pipe that holds this many bytes, and its other end.
    pub(crate) fn new(bytes: usize, is_loopback: bool) -> (Self, Raw<DuplexStream>) {
        let (near, far) = tokio::io::duplex(bytes);
        let end = RefCell::new(Some(near));
        (Self { end, is_loopback }, Raw::new(far))
    }
}

impl Transport for Pipe {
    fn connect(&self) -> LocalBoxFuture<'_, io::Result<Connected>> {
        let end = self.end.borrow_mut().take();
        Box::pin(async move {
            Ok(Connected {
                io: Box::new(end.ok_or(io::ErrorKind::NotConnected)?),
                is_loopback: self.is_loopback,
            })
        })
    }
}

/// Lets the other tasks of the thread do all that they can.
pub(crate) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
