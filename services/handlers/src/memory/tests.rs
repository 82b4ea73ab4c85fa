use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;
use tidepool_handler::Format;
use tidepool_store::EmbeddedStore;

mod durability;
mod inputs;
mod nodes;
mod writers;

use super::*;
use crate::testing::{answer as answer_of, call_within, faults, json_call, run};

fn store() -> Arc<EmbeddedStore> {
    Arc::new(EmbeddedStore::ephemeral().unwrap())
}

fn instance_on(log: Arc<dyn Log>) -> Arc<dyn Instance> {
    memory(MemoryConfig::new(log)).start().unwrap()
}

fn instance() -> Arc<dyn Instance> {
    instance_on(store())
}

fn keep(instance: &Arc<dyn Instance>, namespace: &str, items: Value) -> Value {
    let input = json!({ "op": "store", "namespace": namespace, "items": items });
    answer_of(&**instance, &input)
}

/// Stores texts under the ids `0`, `1`, ...
fn keep_texts(instance: &Arc<dyn Instance>, namespace: &str, texts: &[&str]) {
    let items: Vec<_> = (0..)
        .zip(texts)
        .map(|(id, text)| json!({ "id": format!("{id}"), "text": text }))
        .collect();
    keep(instance, namespace, json!(items));
}

fn recall_with(instance: &Arc<dyn Instance>, namespace: &str, query: &str, more: Value) -> Value {
    let mut input = json!({ "op": "recall", "namespace": namespace, "query": query });
    let more = more.as_object().unwrap().clone();
    input.as_object_mut().unwrap().extend(more);
    answer_of(&**instance, &input)
}

fn recall(instance: &Arc<dyn Instance>, namespace: &str, query: &str) -> Value {
    recall_with(instance, namespace, query, json!({}))
}

fn ids(output: &Value) -> Vec<&str> {
    output["matches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| found["id"].as_str().unwrap())
        .collect()
}

fn forget(instance: &Arc<dyn Instance>, namespace: &str, more: Value) -> Value {
    let mut input = json!({ "op": "forget", "namespace": namespace });
    let more = more.as_object().unwrap().clone();
    input.as_object_mut().unwrap().extend(more);
    answer_of(&**instance, &input)
}

fn stats(instance: &Arc<dyn Instance>, namespace: &str) -> Value {
    answer_of(
        &**instance,
        &json!({ "op": "stats", "namespace": namespace }),
    )
}

#[test]
fn ranks_passages_by_how_well_they_answer() {
    let instance = instance();
    keep_texts(
        &instance,
        "notes",
        &[
            "The lighthouse keeper counts ships at night.",
            "Ships, ships and more ships sail past the lighthouse.",
            "Bread needs flour, water, salt and time.",
            "The keeper bakes bread on Sundays.",
        ],
    );
    let found = recall(&instance, "notes", "ship sailing");
    assert_eq!(ids(&found), ["1", "0"]);
    assert!(found["matches"][0]["score"].as_f64() > found["matches"][1]["score"].as_f64());
    assert_eq!(found["plan"]["strategy"], "bm25");
    assert_eq!(found["plan"]["terms"], json!(["ship", "sail"]));
    assert_eq!(found["plan"]["candidates"], 2);
    assert_eq!(ids(&recall(&instance, "notes", "KEEPER's bréad"))[0], "3");
    assert!(ids(&recall(&instance, "notes", "submarine")).is_empty());
}

#[test]
fn the_same_id_replaces() {
    let instance = instance();
    let first = keep(
        &instance,
        "n",
        json!([{ "id": "a", "text": "red" }, { "id": "a", "text": "blue" }]),
    );
    assert_eq!(first["ids"], json!(["a", "a"]));
    assert!(ids(&recall(&instance, "n", "red")).is_empty());
    assert_eq!(ids(&recall(&instance, "n", "blue")), ["a"]);
    let second = keep(&instance, "n", json!([{ "id": "a", "text": "green" }]));
    assert!(second["version"].as_u64() > first["version"].as_u64());
    assert!(ids(&recall(&instance, "n", "blue")).is_empty());
    assert_eq!(stats(&instance, "n")["items"], 1);
}

#[test]
fn minted_ids_differ_and_grow() {
    let instance = instance();
    let output = keep(
        &instance,
        "n",
        json!([{ "text": "one" }, { "text": "two" }]),
    );
    let ids: Vec<uuid::Uuid> = serde_json::from_value(output["ids"].clone()).unwrap();
    assert!(ids[0] < ids[1]);
    assert_eq!(ids[0].get_version_num(), 7);
}

#[test]
fn forgets_some_or_all_and_says_how_many() {
    let instance = instance();
    keep_texts(&instance, "n", &["red ship", "blue ship", "green ship"]);
    let some = forget(&instance, "n", json!({ "ids": ["0", "0", "none"] }));
    assert_eq!(some["forgotten"], 1);
    assert_eq!(ids(&recall(&instance, "n", "ship")).len(), 2);
    let all = forget(&instance, "n", json!({ "all": true }));
    assert_eq!(all["forgotten"], 2);
    assert!(all["version"].as_u64() > some["version"].as_u64());
    assert!(ids(&recall(&instance, "n", "ship")).is_empty());
    let after = keep(&instance, "n", json!([{ "text": "new ship" }]));
    assert!(after["version"].as_u64() > all["version"].as_u64());
    assert_eq!(ids(&recall(&instance, "n", "ship")).len(), 1);
}

#[test]
fn filters_by_tags_and_times() {
    let instance = instance();
    keep(
        &instance,
        "n",
        json!([
            { "id": "a", "text": "ship", "tags": ["sea", "old"], "at": "2026-01-01T00:00:00Z" },
            { "id": "b", "text": "ship", "tags": ["sea"], "at": "2026-02-01T01:00:00+01:00" },
            { "id": "c", "text": "ship", "tags": ["air"], "at": "2026-03-01T00:00:00.5Z" },
        ]),
    );
    let with = |more| {
        let found = recall_with(&instance, "n", "ship", more);
        ids(&found)
            .iter()
            .map(ToString::to_string)
            .collect::<BTreeSet<_>>()
    };
    let set = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(with(json!({ "tags": ["sea"] })), set(&["a", "b"]));
    assert_eq!(with(json!({ "tags": ["sea", "old"] })), set(&["a"]));
    assert_eq!(with(json!({ "tags": ["land"] })), set(&[]));
    assert_eq!(
        with(json!({ "since": "2026-02-01T00:00:00Z" })),
        set(&["b", "c"])
    );
    assert_eq!(
        with(json!({ "until": "2026-02-01T00:00:00Z" })),
        set(&["a", "b"])
    );
    assert_eq!(with(json!({ "since": "2026-03-01T00:00:01Z" })), set(&[]));
    let found = recall_with(
        &instance,
        "n",
        "ship",
        json!({ "tags": ["air"], "limit": 1 }),
    );
    assert_eq!(found["matches"][0]["at"], "2026-03-01T00:00:00.5Z");
    assert_eq!(found["matches"][0]["tags"], json!(["air"]));
    assert_eq!(found["plan"]["filters"], json!(["tags"]));
    assert_eq!(
        (&found["plan"]["candidates"], &found["plan"]["admitted"]),
        (&json!(3), &json!(1))
    );
}

#[test]
fn a_query_without_words_gives_the_newest() {
    let instance = instance();
    let items: Vec<_> = (1..=30)
        .map(|day| json!({ "id": format!("{day}"), "text": "note", "at": format!("2026-01-{day:02}T00:00:00Z") }))
        .collect();
    keep(&instance, "n", json!(items));
    let found = recall(&instance, "n", " ?! ");
    assert_eq!(
        ids(&found),
        ["30", "29", "28", "27", "26", "25", "24", "23", "22", "21"]
    );
    assert_eq!(found["plan"]["strategy"], "newest");
    let found = recall_with(
        &instance,
        "n",
        "",
        json!({ "until": "2026-01-02T00:00:00Z" }),
    );
    assert_eq!(ids(&found), ["2", "1"]);
}

#[test]
fn finds_words_of_any_script() {
    let instance = instance();
    keep_texts(
        &instance,
        "n",
        &[
            "Crème brûlée à Orléans",
            "潮池は小さな海です",
            "🦀 crab",
            "Прилив",
        ],
    );
    for (query, id) in [
        ("creme", "0"),
        ("ORLÉANS", "0"),
        ("海", "1"),
        ("crab", "2"),
        ("прилив", "3"),
    ] {
        assert_eq!(ids(&recall(&instance, "n", query)), [id], "{query}");
    }
}

#[test]
fn namespaces_share_nothing() {
    let instance = instance();
    let names = ["a", "A", "a:b", "a.b", "a-b", "a_b", "a..b", "ab", "b"];
    for name in names {
        keep(
            &instance,
            name,
            json!([{ "id": "same", "text": format!("ship of {name}"), "tags": [name] }]),
        );
    }
    keep_texts(&instance, "b", &["ship ship ship", "ship", "other"]);
    for name in &names[..8] {
        let found = recall(&instance, name, "ship");
        assert_eq!(found["matches"].as_array().unwrap().len(), 1, "{name}");
        assert_eq!(found["matches"][0]["text"], format!("ship of {name}"));
        assert_eq!(stats(&instance, name)["tags"], json!({ *name: 1 }));
    }
    // The score depends on the namespace's own statistics only.
    let scores: BTreeSet<_> = ["ab", "A", "a"]
        .map(|name| recall(&instance, name, "ship")["matches"][0]["score"].to_string())
        .into();
    assert_eq!(scores.len(), 1);
    forget(&instance, "a", json!({ "all": true }));
    assert!(ids(&recall(&instance, "a", "ship")).is_empty());
    assert_eq!(ids(&recall(&instance, "a:b", "ship")), ["same"]);
}

#[test]
fn steps_are_recorded() {
    let instance = instance();
    let call = json_call(r#"{"op":"store","namespace":"n","items":[{"text":"ship"}]}"#);
    let context = call.context.clone();
    run(&*instance, call).unwrap();
    let call = json_call(r#"{"op":"recall","namespace":"n","query":"ship"}"#);
    let recalling = call.context.clone();
    run(&*instance, call).unwrap();
    let names = |context: &tidepool_handler::CallContext| {
        context
            .take_recorded()
            .iter()
            .map(|step| step.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&context).last(), Some(&"store.append"));
    assert_eq!(
        names(&recalling),
        ["store.read", "memory.index", "memory.search"]
    );
}

#[test]
fn speaks_messagepack_too() {
    let instance = instance();
    let input =
        json!({ "op": "store", "namespace": "n", "items": [{ "id": "a", "text": "ship" }] });
    let input = tidepool_handler::Payload::encode(&input, Format::MsgPack).unwrap();
    let call = call_within(Format::MsgPack, input.bytes, Duration::from_secs(60));
    let output: Value = run(&*instance, call).unwrap().decode().unwrap();
    assert_eq!(output["ids"], json!(["a"]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_query_over_any_text_is_answered(text in "(?s).{1,200}", query in "(?s).{0,80}") {
        let instance = instance();
        keep(&instance, "n", json!([{ "id": "a", "text": text, "tags": ["t"] }]));
        recall(&instance, "n", &query);
        let own_words = recall(&instance, "n", &text);
        prop_assert_eq!(ids(&own_words), ["a"]);
    }

    #[test]
    fn any_bytes_are_answered_or_refused(body in any::<Vec<u8>>(), packed in any::<bool>()) {
        let format = if packed { Format::MsgPack } else { Format::Json };
        let call = call_within(format, body, Duration::from_secs(60));
        prop_assert!(run(&*instance(), call).is_err());
    }
}
