//! Several processes that write one namespace, and some that sleep between deciding and writing.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use parking_lot::Mutex;
use proptest::strategy::Strategy;
use tidepool_handler::CallContext;
use tidepool_store::{Appended, Epoch, Position, Records, RedisStore, StoreFuture, wait};
use tidepool_testing::RedisServer;

use super::*;

pub(super) type Meddler = Box<dyn FnOnce() + Send>;

/// A log that lets others act each time before it appends: what a process that was stopped there
/// would find when it wakes.
pub(super) struct Sleeper {
    inner: Arc<EmbeddedStore>,
    meanwhile: Mutex<VecDeque<Meddler>>,
}

impl Sleeper {
    pub(super) fn on(inner: &Arc<EmbeddedStore>) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::clone(inner),
            meanwhile: Mutex::default(),
        })
    }

    /// One of these before each append to come.
    pub(super) fn let_happen(&self, meanwhile: impl IntoIterator<Item = Meddler>) {
        *self.meanwhile.lock() = meanwhile.into_iter().collect();
    }

    fn sleep(&self) {
        let next = self.meanwhile.lock().pop_front();
        if let Some(meddle) = next {
            meddle();
        }
    }
}

impl Log for Sleeper {
    fn append(&self, stream: &str, epoch: Epoch, records: Vec<Bytes>) -> StoreFuture<Position> {
        self.sleep();
        self.inner.append(stream, epoch, records)
    }
    fn append_at(
        &self,
        stream: &str,
        epoch: Epoch,
        expected: Position,
        records: Vec<Bytes>,
    ) -> StoreFuture<Appended> {
        self.sleep();
        self.inner.append_at(stream, epoch, expected, records)
    }
    fn read(&self, stream: &str, after: Position, limit: usize) -> StoreFuture<Records> {
        self.inner.read(stream, after, limit)
    }
    fn tail(&self, stream: &str) -> StoreFuture<Position> {
        self.inner.tail(stream)
    }
    fn trim(&self, stream: &str, up_to: Position) -> StoreFuture<()> {
        self.inner.trim(stream, up_to)
    }
    fn erase(&self, stream: &str) -> StoreFuture<()> {
        self.inner.erase(stream)
    }
    fn streams(&self, prefix: &str, limit: usize) -> StoreFuture<Vec<String>> {
        self.inner.streams(prefix, limit)
    }
}

const ROOM: usize = 3;

fn small_node(log: Arc<dyn Log>) -> Arc<dyn Instance> {
    let mut config = MemoryConfig::new(log);
    config.items_max = ROOM;
    memory(config).start().unwrap()
}

#[derive(Clone, Debug)]
enum Act {
    Store(Vec<(u8, u16)>),
    Forget(u8),
    ForgetAll,
    Read,
}

impl Act {
    fn input(&self) -> Value {
        match self {
            Self::Store(passages) => {
                let items: Vec<_> = passages
                    .iter()
                    .map(|(id, text)| json!({ "id": id.to_string(), "text": text.to_string() }))
                    .collect();
                json!({ "op": "store", "namespace": "n", "items": items })
            }
            Self::Forget(id) => {
                json!({ "op": "forget", "namespace": "n", "ids": [id.to_string()] })
            }
            Self::ForgetAll => json!({ "op": "forget", "namespace": "n", "all": true }),
            Self::Read => json!({ "op": "recall", "namespace": "n", "query": "", "limit": 100 }),
        }
    }
}

/// What a namespace must say after the changes that were acknowledged, in that order.
#[derive(Default)]
struct Model {
    passages: BTreeMap<String, String>,
    version: u64,
}

impl Model {
    /// Judges an answer as if all of it had happened now.
    fn judge(&mut self, act: &Act, reply: Reply) {
        let mut next = self.passages.clone();
        match act {
            Act::Store(passages) => {
                next.extend(
                    passages
                        .iter()
                        .map(|(id, text)| (id.to_string(), text.to_string())),
                );
            }
            Act::Forget(id) => {
                next.remove(&id.to_string());
            }
            Act::ForgetAll => next.clear(),
            Act::Read => {}
        }
        let is_full = next.len() > ROOM;
        let output: Value = match reply {
            Ok(payload) => payload.decode().unwrap(),
            Err(Failure::LimitExceeded { .. }) if is_full => return,
            Err(failure) => panic!("{act:?} of {:?}: {failure:?}", self.passages),
        };
        assert!(!is_full, "{act:?} has room in {:?}", self.passages);
        let version = output["version"].as_u64().unwrap();
        if let Act::Read = act {
            assert_eq!(read_of(&output), self.passages);
            assert_eq!(version, self.version);
        } else {
            assert!(version > self.version, "{version} after {}", self.version);
        }
        if let Act::Forget(_) | Act::ForgetAll = act {
            assert_eq!(
                output["forgotten"],
                json!(self.passages.len() - next.len()),
                "{act:?} of {:?}",
                self.passages
            );
        }
        (self.passages, self.version) = (next, version);
    }
}

fn read_of(output: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let matches = output["matches"].as_array().unwrap().iter();
    matches
        .map(|found| (text(&found["id"]), text(&found["text"])))
        .collect()
}

fn acts() -> impl Strategy<Value = Act> {
    let passage = (0_u8..5, any::<u16>());
    prop_oneof![
        5 => proptest::collection::vec(passage, 1..3).prop_map(Act::Store),
        3 => (0_u8..5).prop_map(Act::Forget),
        1 => Just(Act::ForgetAll),
        2 => Just(Act::Read),
    ]
}

fn perform(node: &Arc<dyn Instance>, act: &Act, model: &Mutex<Model>) {
    let reply = run(&**node, json_call(act.input().to_string()));
    model.lock().judge(act, reply);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    /// However often a node sleeps between deciding and writing, and whatever the other one does in
    /// the meantime: every answer is true at the moment when it is given, no namespace holds more
    /// than it may, and both nodes and a third one read the same.
    #[test]
    fn nodes_never_interleave_on_what_they_knew_before(
        steps in proptest::collection::vec(
            (any::<bool>(), acts(), proptest::collection::vec(acts(), 0..3)),
            1..12,
        ),
    ) {
        let store = store();
        let logs = [Sleeper::on(&store), Sleeper::on(&store)];
        let nodes = logs.clone().map(|log| small_node(log));
        let model = Arc::new(Mutex::new(Model::default()));
        for (first, act, meanwhile) in steps {
            let (this, other) = if first { (0, 1) } else { (1, 0) };
            logs[this].let_happen(meanwhile.into_iter().map(|act| {
                let (node, model) = (Arc::clone(&nodes[other]), Arc::clone(&model));
                Box::new(move || perform(&node, &act, &model)) as Meddler
            }));
            perform(&nodes[this], &act, &model);
            logs[this].let_happen([]);
        }
        for node in nodes.iter().chain([&small_node(store)]) {
            let output = answer_of(&**node, &Act::Read.input());
            prop_assert_eq!(&read_of(&output), &model.lock().passages);
            prop_assert_eq!(output["version"].as_u64(), Some(model.lock().version));
        }
    }
}

fn storing(id: &str) -> Call {
    let input = json!({
        "op": "store", "namespace": "n", "items": [{ "id": id, "text": "ship" }],
    });
    json_call(input.to_string())
}

#[test]
fn a_node_that_wakes_writes_nothing_for_who_has_gone() {
    let store = store();
    let log = Sleeper::on(&store);
    let (zombie, heir) = (instance_on(log.clone()), instance_on(store));
    keep(&zombie, "n", json!([{ "id": "a", "text": "ship" }]));
    let call = storing("late");
    let context: CallContext = call.context.clone();
    let taking_over = Arc::clone(&heir);
    log.let_happen([Box::new(move || {
        keep(&taking_over, "n", json!([{ "id": "b", "text": "ship" }]));
        // The link was lost while the node slept.
        context.cancel();
    }) as Meddler]);
    assert_eq!(run(&*zombie, call), Err(Failure::Cancelled));
    for node in [heir, zombie] {
        let mut found = recall(&node, "n", "ship");
        found["matches"].as_array_mut().unwrap().reverse();
        let found: BTreeSet<_> = ids(&found).into_iter().collect();
        assert_eq!(found, ["a", "b"].into());
    }
}

#[test]
fn a_node_that_always_comes_too_late_gives_up() {
    let store = store();
    let log = Sleeper::on(&store);
    let (late, busy) = (instance_on(log.clone()), instance_on(store));
    log.let_happen((0..1_000).map(|n| {
        let busy = Arc::clone(&busy);
        Box::new(move || {
            keep(
                &busy,
                "n",
                json!([{ "id": format!("{n}"), "text": "ship" }]),
            );
        }) as Meddler
    }));
    let reply = run(&*late, storing("late"));
    assert!(
        matches!(reply, Err(Failure::Dependency { .. })),
        "{reply:?}"
    );
    assert_eq!(stats(&busy, "n")["items"], 32);
    // It has lost no more than that request.
    log.let_happen([]);
    run(&*late, storing("again")).unwrap();
    assert_eq!(stats(&busy, "n")["items"], 33);
}

#[test]
fn a_log_of_which_nothing_is_left_goes_on() {
    let log = store();
    let (one, other) = (instance_on(log.clone()), instance_on(log.clone()));
    keep(&one, "n", json!([{ "id": "a", "text": "ship" }]));
    let gone = keep(&other, "n", json!([{ "id": "b", "text": "ship" }]));
    wait(log.erase("memory/n")).unwrap();
    for (id, node) in [("c", instance_on(log)), ("d", one), ("e", other)] {
        let kept = keep(&node, "n", json!([{ "id": id, "text": "ship" }]));
        assert!(kept["version"].as_u64() > gone["version"].as_u64());
        assert!(ids(&recall(&node, "n", "ship")).contains(&id));
    }
}

/// Stores passages until there is no room for more; gives how many were taken.
fn fill(node: &Arc<dyn Instance>, other: &Arc<dyn Instance>, name: usize) -> usize {
    for n in 0.. {
        let id = format!("{name}-{n}");
        match run(&**node, storing(&id)) {
            Ok(_) => {
                let found = recall_with(other, "n", "", json!({ "limit": 100 }));
                assert!(ids(&found).contains(&id.as_str()), "{id}: {found}");
            }
            Err(Failure::LimitExceeded { .. }) => return n,
            Err(failure) => panic!("{failure:?}"),
        }
    }
    unreachable!()
}

#[test]
fn nodes_over_redis_share_one_limit_and_read_each_other() {
    const ROOM: usize = 80;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = RedisServer::start();
    let nodes = [(); 2].map(|()| {
        // A connection of its own, as each process has.
        let store = runtime.block_on(RedisStore::connect(&redis.url())).unwrap();
        let mut config = MemoryConfig::new(Arc::new(store));
        config.items_max = ROOM;
        memory(config).start().unwrap()
    });
    let taken: usize = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|name: usize| {
                let (node, other) = (&nodes[name % 2], &nodes[(name + 1) % 2]);
                scope.spawn(move || fill(node, other, name))
            })
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .sum()
    });
    assert_eq!(taken, ROOM);
    for node in &nodes {
        assert_eq!(stats(node, "n")["items"], ROOM);
    }
}
