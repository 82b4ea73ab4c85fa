//! What one call of each handler costs, without a server around it.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use tidepool_core::{Deadline, RequestId, TraceContext};
use tidepool_handler::{Call, CallContext, Format, Instance, Payload, Work};
use tidepool_handlers::{MemoryConfig, echo, grammar, memory};
use tidepool_store::EmbeddedStore;

const PROSE: &str = "The harbour master keeps a book in wich every ship is written down. Each line \
    has a date, a name and a cargo. He told me that it is better then any machine, and I beleive \
    him: the the book has never been wrong. Some ships come twice a month; others came once, a \
    hundred years ago, and nobody remembers what they carried. I could of stayed for hours.\n\n";

fn call(body: &Bytes, reply_format: Format) -> Call {
    let deadline = Deadline::from_now(Instant::now(), Duration::from_secs(60));
    let id = RequestId(uuid::Uuid::nil());
    Call {
        input: Payload::new(Format::Json, body.clone()),
        reply_format,
        context: CallContext::new(id, TraceContext::root(false), deadline),
    }
}

fn run(instance: &Arc<dyn Instance>, call: Call) -> Payload {
    let reply = match instance.call(call) {
        Work::Ready(reply) => reply,
        Work::Compute(compute) => compute(),
        Work::Wait(_) => panic!("waits"),
    };
    reply.expect("an answer")
}

fn bench_echo(criterion: &mut Criterion) {
    let instance = echo().start().expect("starts");
    let mut group = criterion.benchmark_group("echo");
    let body =
        |len: usize| Bytes::from(json!({ "text": "x".repeat(len), "n": [1, 2.5] }).to_string());
    for (name, body, reply_format) in [
        ("20 B", body(2), Format::Json),
        ("1 KiB", body(1_000), Format::Json),
        ("64 KiB", body(64_000), Format::Json),
        ("1 KiB to MessagePack", body(1_000), Format::MsgPack),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || call(&body, reply_format),
                |call| run(&instance, black_box(call)),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn bench_grammar(criterion: &mut Criterion) {
    let instance = grammar().start().expect("starts");
    let mut group = criterion.benchmark_group("grammar");
    group.sample_size(10);
    for (name, times) in [("a paragraph", 1), ("20 KiB", 54)] {
        let text = PROSE.repeat(times);
        group.throughput(Throughput::Bytes(text.len() as u64));
        let body = Bytes::from(json!({ "text": text }).to_string());
        group.bench_function(name, |bencher| {
            bencher.iter(|| run(&instance, call(&body, Format::Json)));
        });
    }
    group.finish();
}

fn passages(from: usize, to: usize) -> Value {
    let words = [
        "harbour", "tide", "lantern", "rope", "gull", "salt", "quay", "keel", "net",
    ];
    let passage = |n: usize| {
        let word = |at: usize| words[(n / at) % words.len()];
        let text = format!(
            "Passage {n} about {} and {}, seen by {}.",
            word(1),
            word(9),
            word(81)
        );
        json!({ "id": n.to_string(), "text": text, "tags": [word(1)] })
    };
    (from..to).map(passage).collect()
}

fn bench_memory(criterion: &mut Criterion) {
    let store = Arc::new(EmbeddedStore::ephemeral().expect("a store"));
    let handler = memory(MemoryConfig::new(store.clone()));
    let instance = handler.start().expect("starts");
    let store_body = |items: Value| {
        Bytes::from(json!({ "op": "store", "namespace": "n", "items": items }).to_string())
    };
    for part in 0..10 {
        let body = store_body(passages(part * 1_000, (part + 1) * 1_000));
        run(&instance, call(&body, Format::Json));
    }
    let recall = json!({ "op": "recall", "namespace": "n", "query": "gulls in the harbour" });
    let recall = Bytes::from(recall.to_string());
    let one = store_body(passages(0, 1));

    let mut group = criterion.benchmark_group("memory of 10,000 passages");
    group.sample_size(20);
    group.bench_function("recall", |bencher| {
        bencher.iter(|| run(&instance, call(&recall, Format::Json)));
    });
    group.bench_function("store one", |bencher| {
        bencher.iter(|| run(&instance, call(&one, Format::Json)));
    });
    group.bench_function("store one, then recall", |bencher| {
        bencher.iter(|| {
            run(&instance, call(&one, Format::Json));
            run(&instance, call(&recall, Format::Json))
        });
    });
    group.bench_function("recall after a restart", |bencher| {
        bencher.iter_batched(
            || {
                memory(MemoryConfig::new(store.clone()))
                    .start()
                    .expect("starts")
            },
            |instance| run(&instance, call(&recall, Format::Json)),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, bench_echo, bench_grammar, bench_memory);
criterion_main!(benches);
