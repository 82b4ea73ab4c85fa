//! A balancer without workers of its own, and nodes that it reaches over real links.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor as _, Addr};
use parking_lot::Mutex;
use prometheus::Registry;
use serde_json::json;
use tidepool_balancer::{
    BalancerMetrics, Dialing, Hosting, HostingConfig, Nodes, Pool, PoolTable, SetAside,
};
use tidepool_core::{NodeId, SetTarget};
use tidepool_handler::Idempotent;
use tidepool_link::{Control, ControlEvent, LinkConfig, Local, Server, Tcp};
use tidepool_telemetry::Spans;
use tidepool_wire::frame::{Demand, Ping, Role};
use tidepool_worker::{Naming, Node, NodeConfig, NodePorts, PoolHosting, RestartPolicy, Target};
use tokio::sync::watch;

use crate::handlers::{Actor, Stage};
use crate::harness::{Harness, eventually, problem, spec};

fn link_config(role: Role, name: &str) -> LinkConfig {
    let local = Local {
        role,
        name: name.to_owned(),
        instance: tidepool_link::instance_id().expect("randomness"),
    };
    LinkConfig::new(local, None)
}

/// A node with `workers` workers of one slot.
struct TestNode {
    addr: String,
    pool: Arc<Pool>,
    stage: Arc<Stage>,
    server: Server,
    node: Addr<Node>,
}

impl TestNode {
    async fn start(name: &str, workers: u32, idempotent: Idempotent) -> Self {
        Self::linking(link_config(Role::Node, name), workers, idempotent).await
    }

    async fn linking(link: LinkConfig, workers: u32, idempotent: Idempotent) -> Self {
        let name = &link.local.name.clone();
        let stage = Arc::new(Stage {
            idempotent,
            ..Stage::default()
        });
        let metrics = BalancerMetrics::register(&Registry::new()).expect("fresh registry");
        let pool = Pool::new(spec(), metrics.of_pool(&spec()), Instant::now());
        let id = NodeId::new(name).expect("valid");
        let node = Node::new(NodeConfig {
            node: id.clone(),
            naming: Naming::Among(id),
            pools: vec![PoolHosting {
                spec: spec(),
                handlers: vec![Actor::on(&stage)],
                membership: Arc::new(PoolTable(Arc::clone(&pool))),
            }],
            restart: RestartPolicy::default(),
            ports: NodePorts {
                reports: Arc::new(|_| {}),
                events: Arc::new(|_| {}),
            },
        })
        .start();
        order(&node, &pool, 1, workers);
        eventually(|| pool.ready_slots() == workers).await;
        let hosting = Hosting::new(HostingConfig {
            pools: vec![Arc::clone(&pool)],
            spans: Spans::off(),
            slow: Duration::from_secs(1),
        });
        let listener = tidepool_link::bind("127.0.0.1:0".parse().expect("valid")).expect("a port");
        let addr = listener.local_addr().expect("bound").to_string();
        let server = Server::new(link);
        let (running, host) = (server.clone(), hosting.host());
        actix_web::rt::spawn(async move { running.run(host).await });
        let accepting = server.clone();
        actix_web::rt::spawn(async move { accepting.accept(listener).await });
        actix_web::rt::spawn(hosting.keep_told());
        Self {
            addr,
            pool,
            stage,
            server,
            node,
        }
    }

    /// Wants so many workers of it.
    fn order(&self, seq: u64, n: u32) {
        order(&self.node, &self.pool, seq, n);
    }

    /// Cuts every connection at once, as the death of a process does.
    async fn die(&self) {
        self.server.stop(Duration::ZERO).await;
    }

    fn running(&self) -> u32 {
        self.stage.running.load(std::sync::atomic::Ordering::SeqCst)
    }
}

fn order(node: &Addr<Node>, pool: &Pool, seq: u64, n: u32) {
    let target = SetTarget {
        pool: pool.name().clone(),
        epoch: 1,
        seq,
        n,
    };
    node.try_send(Target(target))
        .expect("the node takes orders");
}

/// A balancer that is linked to these nodes.
struct Linked {
    balancer: Harness,
    nodes: Nodes,
    _directory: watch::Sender<Vec<String>>,
}

impl Linked {
    async fn to(nodes: &[&TestNode]) -> Self {
        let stage = Arc::new(Stage {
            idempotent: nodes[0].stage.idempotent,
            ..Stage::default()
        });
        let balancer = Harness::with(spec(), stage);
        let addresses = nodes.iter().map(|node| node.addr.clone()).collect();
        let (directory, reader) = watch::channel(addresses);
        let dialing = Dialing {
            link: link_config(Role::Balancer, "balancer"),
            tls: None,
        };
        let pool = Arc::clone(&balancer.pool);
        let linked = Nodes::follow(vec![pool], dialing, reader);
        let slots: u32 = nodes.iter().map(|node| node.pool.ready_slots()).sum();
        eventually(|| balancer.pool.ready_slots() >= slots).await;
        Self {
            balancer,
            nodes: linked,
            _directory: directory,
        }
    }
}

#[actix_web::test]
async fn a_request_is_answered_by_a_worker_of_a_node() {
    let node = TestNode::start("a", 2, Idempotent::Never).await;
    let linked = Linked::to(&[&node]).await;
    let response = linked.balancer.act("echo").await;
    assert_eq!(response.status(), 200);
    let worker = response.headers()["tidepool-worker"].to_str().unwrap();
    assert!(
        worker.starts_with("act-") && worker.ends_with("@a"),
        "{worker}"
    );
    assert!(response.headers().contains_key("server-timing"));
    let body: serde_json::Value = response.json().await.unwrap();
    assert_eq!(body, json!({ "act": "echo" }));
    linked.balancer.stop().await;
}

#[actix_web::test]
async fn what_a_handler_says_of_a_request_comes_back_as_from_a_worker_here() {
    let node = TestNode::start("a", 1, Idempotent::Never).await;
    let linked = Linked::to(&[&node]).await;
    let balancer = &linked.balancer;
    let wrong = balancer.post(r#"{"act":7}"#).send().await.unwrap();
    let wrong = problem(wrong, 422, "invalid_input").await;
    assert_eq!(wrong["errors"][0]["pointer"], "/act");
    problem(balancer.act("fail").await, 500, "handler_failed").await;
    problem(balancer.act("panic").await, 500, "handler_panicked").await;
    let late = balancer
        .post(r#"{"act":"hold"}"#)
        .header("tidepool-deadline-ms", "300");
    problem(late.send().await.unwrap(), 504, "deadline_exceeded").await;
    eventually(|| node.running() == 0).await;
    linked.balancer.stop().await;
}

#[actix_web::test]
async fn an_input_that_no_node_takes_is_refused_for_its_size() {
    let mut link = link_config(Role::Node, "a");
    link.limits.message_bytes = 1 << 10;
    let node = TestNode::linking(link, 1, Idempotent::Never).await;
    let linked = Linked::to(&[&node]).await;
    let balancer = &linked.balancer;
    let input = format!(r#"{{"act":"{}"}}"#, "echo".repeat(500));
    let large = balancer.post(input).send().await.unwrap();
    problem(large, 413, "too_large").await;
    assert_eq!(
        balancer.act("echo").await.status(),
        200,
        "the link lives on"
    );
    linked.balancer.stop().await;
}

#[actix_web::test]
async fn a_caller_that_leaves_ends_the_work_on_the_node() {
    let node = TestNode::start("a", 1, Idempotent::Never).await;
    let linked = Linked::to(&[&node]).await;
    let asked = linked.balancer.spawn("hold");
    eventually(|| node.running() == 1).await;
    asked.abort();
    eventually(|| node.running() == 0 && node.pool.busy_slots() == 0).await;
    linked.balancer.stop().await;
}

#[actix_web::test]
async fn requests_beyond_the_slots_of_all_nodes_wait_at_the_balancer() {
    let (a, b) = (
        TestNode::start("a", 1, Idempotent::Never).await,
        TestNode::start("b", 1, Idempotent::Never).await,
    );
    let linked = Linked::to(&[&a, &b]).await;
    let balancer = &linked.balancer;
    let asked: Vec<_> = (0..4).map(|_| balancer.spawn("hold")).collect();
    eventually(|| a.running() == 1 && b.running() == 1).await;
    eventually(|| balancer.pool.in_flight() == 4).await;
    assert_eq!(
        a.pool.in_flight() + b.pool.in_flight(),
        2,
        "nodes have what they have slots for"
    );
    for _ in 0..2 {
        a.stage.release.notify_one();
        b.stage.release.notify_one();
    }
    for asked in asked {
        assert_eq!(asked.await.unwrap(), 200);
    }
    linked.balancer.stop().await;
}

#[actix_web::test]
async fn work_that_may_run_twice_survives_the_death_of_its_node() {
    for idempotent in [Idempotent::Always, Idempotent::Where("act", &["hold"])] {
        let (a, b) = (
            TestNode::start("a", 1, idempotent).await,
            TestNode::start("b", 1, idempotent).await,
        );
        let linked = Linked::to(&[&a, &b]).await;
        let asked = linked.balancer.spawn("hold");
        eventually(|| a.running() + b.running() == 1).await;
        let (first, second) = if a.running() == 1 { (&a, &b) } else { (&b, &a) };
        first.die().await;
        eventually(|| second.running() == 1).await;
        second.stage.release.notify_one();
        assert_eq!(asked.await.unwrap(), 200);
        let lost = linked
            .balancer
            .metric(r#"tidepool_repeats_total{cause="lost",pool="act"}"#);
        assert_eq!(lost, Some(1.0));
        linked.balancer.stop().await;
    }
}

#[actix_web::test]
async fn work_that_must_not_run_twice_is_told_as_lost() {
    for idempotent in [Idempotent::Never, Idempotent::Where("act", &["echo"])] {
        let (a, b) = (
            TestNode::start("a", 1, idempotent).await,
            TestNode::start("b", 1, idempotent).await,
        );
        let linked = Linked::to(&[&a, &b]).await;
        let asked = linked.balancer.post(r#"{"act":"hold"}"#).send();
        let asked = actix_web::rt::spawn(asked);
        eventually(|| a.running() + b.running() == 1).await;
        let (first, second) = if a.running() == 1 { (&a, &b) } else { (&b, &a) };
        first.die().await;
        problem(asked.await.unwrap().unwrap(), 500, "worker_lost").await;
        assert_eq!(second.running(), 0);
        let set_aside = r#"tidepool_requests_set_aside_total{pool="act"}"#;
        assert_eq!(linked.balancer.metric(set_aside), Some(0.0));
        linked.balancer.stop().await;
    }
}

#[actix_web::test]
async fn a_request_that_two_nodes_die_of_is_set_aside() {
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        nodes.push(TestNode::start(name, 1, Idempotent::Always).await);
    }
    let linked = Linked::to(&nodes.iter().collect::<Vec<_>>()).await;
    let heard: Arc<Mutex<Vec<SetAside>>> = Arc::default();
    let listener = Arc::clone(&heard);
    let pool = &linked.balancer.pool;
    pool.on_set_aside(Box::new(move |set_aside| listener.lock().push(set_aside)));
    let asked = actix_web::rt::spawn(linked.balancer.post(r#"{"act":"hold"}"#).send());
    let mut dead: Vec<usize> = Vec::new();
    for _ in 0..2 {
        let next = |dead: &[usize]| {
            let has_it = |n: &usize| !dead.contains(n) && nodes[*n].running() == 1;
            (0..nodes.len()).find(has_it)
        };
        eventually(|| next(&dead).is_some()).await;
        let victim = next(&dead).expect("it was there a moment ago");
        dead.push(victim);
        nodes[victim].die().await;
    }
    let told = problem(asked.await.unwrap().unwrap(), 500, "set_aside").await;
    let detail = told["detail"].as_str().unwrap();
    assert!(
        detail.contains("do not send it again unchanged"),
        "{detail}"
    );
    let heard = heard.lock().clone();
    let [set_aside] = heard.as_slice() else {
        panic!("told once: {heard:?}");
    };
    assert_eq!(
        (set_aside.pool.as_str(), set_aside.kind.as_str()),
        ("act", "act")
    );
    assert_eq!(told["trace_id"], set_aside.trace_id.to_string());
    let counted = |series: &str| linked.balancer.metric(&format!("{series}\"act\"}}"));
    assert_eq!(
        counted("tidepool_requests_set_aside_total{pool="),
        Some(1.0)
    );
    let repeats = counted(r#"tidepool_repeats_total{cause="lost",pool="#);
    assert_eq!(repeats, Some(1.0));
    eventually(|| nodes.iter().map(TestNode::running).sum::<u32>() == 0).await;
    linked.balancer.stop().await;
}

#[actix_web::test]
async fn a_draining_node_costs_nobody_a_request() {
    let (a, b) = (
        TestNode::start("a", 1, Idempotent::Never).await,
        TestNode::start("b", 1, Idempotent::Never).await,
    );
    let linked = Linked::to(&[&a, &b]).await;
    a.server.drain();
    for _ in 0..20 {
        assert_eq!(linked.balancer.act("echo").await.status(), 200);
    }
    eventually(|| linked.balancer.pool.ready_slots() == b.pool.ready_slots()).await;
    linked.balancer.stop().await;
}

#[actix_web::test]
async fn a_node_that_stops_finishes_what_it_has() {
    let node = TestNode::start("a", 1, Idempotent::Never).await;
    let linked = Linked::to(&[&node]).await;
    let asked = linked.balancer.spawn("hold");
    eventually(|| node.running() == 1).await;
    let server = node.server.clone();
    let stopped = actix_web::rt::spawn(async move { server.stop(Duration::from_secs(20)).await });
    // Its seat is gone, its work is not, also when the drain has long been told.
    eventually(|| linked.balancer.pool.ready_slots() == 0).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(linked.nodes.linked().count(), 1);
    node.stage.release.notify_one();
    assert_eq!(asked.await.unwrap(), 200);
    assert!(stopped.await.unwrap(), "every link ended by itself");
    linked.balancer.stop().await;
}

#[actix_web::test]
async fn what_waits_at_a_node_that_stops_begins_on_another() {
    waits_and_moves_on(|a| {
        a.server.drain();
        a.pool.dismiss_waiting();
    })
    .await;
}

#[actix_web::test]
async fn what_waits_at_a_node_whose_last_worker_is_retired_begins_on_another() {
    waits_and_moves_on(|a| a.order(2, 0)).await;
}

/// Something happens to a node where a request waits, which begins on another one then.
async fn waits_and_moves_on(happens: impl FnOnce(&TestNode)) {
    let (a, b) = (
        TestNode::start("a", 1, Idempotent::Never).await,
        TestNode::start("b", 1, Idempotent::Never).await,
    );
    let (first, second) = (Linked::to(&[&a]).await, Linked::to(&[&a, &b]).await);
    let held = first.balancer.spawn("hold");
    eventually(|| a.running() == 1).await;
    // One of them waits at `a`, whose only slot each balancer may use.
    let asked: Vec<_> = (0..2).map(|_| second.balancer.spawn("hold")).collect();
    eventually(|| b.running() == 1 && a.pool.in_flight() == 2).await;
    happens(&a);
    eventually(|| a.pool.in_flight() == 1).await;
    eventually(|| {
        b.stage.release.notify_one();
        asked.iter().all(tokio::task::JoinHandle::is_finished)
    })
    .await;
    for asked in asked {
        assert_eq!(asked.await.expect("an end"), 200);
    }
    a.stage.release.notify_one();
    assert_eq!(held.await.expect("an end"), 200);
    first.balancer.stop().await;
    second.balancer.stop().await;
}

#[actix_web::test]
async fn the_slots_of_a_balancer_that_is_gone_go_to_the_others() {
    let node = TestNode::start("a", 4, Idempotent::Always).await;
    let gone = Linked::to(&[&node]).await;
    let asked: Vec<_> = (0..4).map(|_| gone.balancer.spawn("hold")).collect();
    eventually(|| node.running() == 4).await;
    drop(gone.nodes);
    asked.into_iter().for_each(|asked| asked.abort());
    // Ready as soon as it has all four.
    let stays = Linked::to(&[&node]).await;
    stays.balancer.stop().await;
}

#[actix_web::test]
async fn the_slots_of_a_balancer_that_falls_silent_go_to_the_others_until_it_is_heard_again() {
    let node = TestNode::start("a", 4, Idempotent::Always).await;
    let mut silent = Control::open(Tcp::new(&node.addr), link_config(Role::Balancer, "silent"));
    let needs_all = |nonce| Ping {
        nonce,
        demand: vec![Demand {
            pool: node.pool.name().clone(),
            in_flight: 4,
            queued: 0,
        }],
    };
    silent.ping(needs_all(1));
    while !matches!(silent.next().await, Some(ControlEvent::Pong(1))) {}
    // Its link stays, and it says nothing more. Ready as soon as the other one has all four.
    let stays = Linked::to(&[&node]).await;
    silent.ping(needs_all(2));
    eventually(|| stays.balancer.pool.ready_slots() == 1).await;
    stays.balancer.stop().await;
}
