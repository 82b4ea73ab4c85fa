//! Frames per second and round trip over loopback: `cargo run --release -p tidepool-link --example
//! ping [seconds]`. One thread for each end; as many callers as calls in flight.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use tidepool_core::{Kind, PoolName, Priority, RequestId, TraceContext, WorkerId};
use tidepool_link::{
    Answer, CallEnd, Host, Link, LinkConfig, Local, Outcome, Peer, Secret, Server, Steering, Tcp,
};
use tidepool_wire::Format;
use tidepool_wire::frame::{Ping, Request, Response, Role};

/// Answers with what came.
struct Echo(WorkerId);

impl Host for Echo {
    fn request(&self, _peer: &Rc<Peer>, request: Request, payload: Bytes) -> Answer {
        let response = Response {
            format: request.reply_format,
            worker: Some(self.0.clone()),
            queued_us: 1,
            work_us: 1,
            failed: None,
        };
        Answer::Now(Outcome::Answered(response, payload))
    }

    fn control_up(&self, _peer: &Rc<Peer>, _steering: Steering) {}
    fn demand(&self, _peer: &Rc<Peer>, _ping: Ping) {}
    fn control_down(&self, _peer: &Rc<Peer>) {}
}

fn config(role: Role) -> LinkConfig {
    let local = Local {
        role,
        name: role.as_str().to_owned(),
        instance: tidepool_link::instance_id().expect("randomness"),
    };
    let secret = Secret::new("not much of a secret").expect("long enough");
    LinkConfig::new(local, Some(secret))
}

fn local<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, run)
}

fn serve() -> String {
    let listener = tidepool_link::bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let addr = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        local(async {
            let server = Server::new(config(Role::Node));
            let pool = PoolName::new("echo").expect("a name");
            let host = Rc::new(Echo(WorkerId::new(&pool, 1)));
            let _ = tokio::join!(server.accept(listener), server.run(host));
        });
    });
    addr
}

fn request() -> Request {
    Request {
        request_id: RequestId(uuid::Uuid::now_v7()),
        pool: PoolName::new("echo").expect("a name"),
        kind: Kind::new("echo").expect("a name"),
        trace: TraceContext::root(false),
        remaining_us: 10_000_000,
        priority: Priority::default(),
        idempotent: true,
        input_format: Format::Json,
        reply_format: Format::Json,
        session: None,
    }
}

async fn measure(addr: &str, in_flight: usize, payload_bytes: usize, time: Duration) {
    let link = Link::open(Tcp::new(addr), config(Role::Balancer));
    let payload = Bytes::from(vec![b'x'; payload_bytes]);
    let histogram = Rc::new(RefCell::new(
        Histogram::<u64>::new(3).expect("three digits"),
    ));
    let count = Rc::new(Cell::new(0_u64));
    let begin = Instant::now();
    let callers: Vec<_> = (0..in_flight)
        .map(|_| {
            let (link, payload) = (link.clone(), payload.clone());
            let (histogram, count) = (Rc::clone(&histogram), Rc::clone(&count));
            tokio::task::spawn_local(async move {
                let request = request();
                while begin.elapsed() < time {
                    let sent = Instant::now();
                    let deadline = sent + Duration::from_secs(10);
                    let call = link.call(&request, payload.clone(), deadline);
                    let end = call.expect("there is room").await;
                    assert!(matches!(end, CallEnd::Answered(..)), "{end:?}");
                    let us = u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    let _ = histogram.borrow_mut().record(us);
                    count.set(count.get() + 1);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("a caller");
    }
    let histogram = histogram.borrow();
    let us = |quantile| Duration::from_nanos(histogram.value_at_quantile(quantile));
    let calls_per_s = count.get() as f64 / begin.elapsed().as_secs_f64();
    eprintln!(
        "{in_flight:4} in flight, {payload_bytes:6} B: {calls_per_s:9.0} calls/s, p50 {:?}, p99 {:?}",
        us(0.5),
        us(0.99)
    );
}

fn main() {
    let time = std::env::args()
        .nth(1)
        .and_then(|seconds| seconds.parse().ok())
        .map_or(Duration::from_secs(2), Duration::from_secs_f64);
    let addr = serve();
    local(async {
        for (in_flight, payload_bytes) in [(1, 54), (16, 54), (64, 54), (16, 4_096), (4, 1 << 20)] {
            measure(&addr, in_flight, payload_bytes, time).await;
        }
    });
}
