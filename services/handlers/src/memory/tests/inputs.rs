use super::*;

#[test]
fn names_that_could_be_taken_for_others_are_refused() {
    let instance = instance();
    let long = "n".repeat(129);
    for name in [
        "",
        "a/b",
        "a%2Fb",
        "../a",
        "a b",
        "ä",
        "a\u{0}",
        "a\\b",
        long.as_str(),
    ] {
        let body = json!({ "op": "stats", "namespace": name }).to_string();
        assert_eq!(
            faults(run(&*instance, json_call(body)))[0].0,
            "/namespace",
            "{name:?}"
        );
    }
}

/// Each input is refused at its pointer, and by the published schema there or at what holds it.
fn assert_faults(cases: Vec<(Value, &str)>) {
    let handler = memory(MemoryConfig::new(store()));
    let instance = handler.start().unwrap();
    let schema = jsonschema::options()
        .should_validate_formats(true)
        .build(&handler.spec().input_schema)
        .unwrap();
    for (input, pointer) in cases {
        let found = faults(run(&*instance, json_call(input.to_string())));
        assert_eq!(found[0].0, pointer, "{input}: {found:?}");
        let holders: Vec<_> = schema
            .iter_errors(&input)
            .map(|error| error.instance_path().to_string())
            .collect();
        assert!(
            holders.iter().any(|holder| pointer.starts_with(holder)),
            "{input}: {holders:?}"
        );
    }
}

#[test]
fn faults_of_stores_name_their_places() {
    let store =
        |item: Value| json!({ "op": "store", "namespace": "n", "items": [{ "text": "ok" }, item] });
    assert_faults(vec![
        (
            json!({ "op": "store", "namespace": "n", "items": [] }),
            "/items",
        ),
        (
            json!({ "op": "store", "namespace": "n", "items": [["id", "text"]] }),
            "/items/0",
        ),
        (store(json!({ "text": "" })), "/items/1/text"),
        (store(json!({ "text": 5 })), "/items/1/text"),
        (
            store(json!({ "text": "a", "colour": "red" })),
            "/items/1/colour",
        ),
        (
            store(json!({ "text": "a".repeat(32_769) })),
            "/items/1/text",
        ),
        (store(json!({ "text": "a", "id": "" })), "/items/1/id"),
        (
            store(json!({ "text": "a", "id": "i".repeat(129) })),
            "/items/1/id",
        ),
        (
            store(json!({ "text": "a", "tags": ["t", ""] })),
            "/items/1/tags/1",
        ),
        (
            store(json!({ "text": "a", "tags": vec!["t"; 17] })),
            "/items/1/tags",
        ),
        (
            store(json!({ "text": "a", "at": "yesterday" })),
            "/items/1/at",
        ),
    ]);
}

#[test]
fn faults_of_recalls_name_their_places() {
    let recall = |name: &str, value: Value| {
        let mut input = json!({ "op": "recall", "namespace": "n", "query": "q" });
        input[name] = value;
        input
    };
    assert_faults(vec![
        (recall("limit", json!(0)), "/limit"),
        (recall("limit", json!(101)), "/limit"),
        (recall("limit", json!("ten")), "/limit"),
        (recall("since", json!("2026-13-01T00:00:00Z")), "/since"),
        (recall("until", json!(7)), "/until"),
        (recall("query", json!("q".repeat(4_097))), "/query"),
        (recall("tags", json!(["t", 3])), "/tags/1"),
    ]);
}

#[test]
fn faults_of_other_inputs_name_their_places() {
    let forget = |more: &str| format!(r#"{{"op":"forget","namespace":"n"{more}}}"#);
    let value = |text: String| serde_json::from_str(&text).unwrap();
    assert_faults(vec![
        (json!([]), ""),
        (json!({}), ""),
        (json!({ "op": "eat", "namespace": "n" }), "/op"),
        (json!({ "op": "stats", "namespace": 7 }), "/namespace"),
        (
            json!({ "op": "stats", "namespace": "n", "more": 1 }),
            "/more",
        ),
        (value(forget("")), ""),
        (value(forget(r#","all":false"#)), ""),
        (value(forget(r#","ids":[]"#)), "/ids"),
        (value(forget(r#","ids":["a"],"all":true"#)), "/all"),
        (value(forget(r#","ids":["a",""]"#)), "/ids/1"),
    ]);
}

#[test]
fn all_faults_of_values_are_told_at_once() {
    let input = json!({ "op": "store", "namespace": "a/b", "items": [{ "text": "" }, { "text": "a", "id": "" }] });
    let found = faults(run(&*instance(), json_call(input.to_string())));
    let pointers: Vec<_> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert_eq!(pointers, ["/items/0/text", "/items/1/id", "/namespace"]);
}

#[test]
fn a_store_larger_than_the_log_takes_is_refused_as_a_whole() {
    let instance = instance();
    let items: Vec<_> = (0..500)
        .map(|_| json!({ "text": "x".repeat(32_768) }))
        .collect();
    let input = json!({ "op": "store", "namespace": "n", "items": items });
    assert_eq!(
        faults(run(&*instance, json_call(input.to_string())))[0].0,
        "/items"
    );
    let input = json!({ "op": "store", "namespace": "n", "items": items[..400] });
    run(&*instance, json_call(input.to_string())).unwrap();
    assert_eq!(stats(&instance, "n")["items"], 400);
}

#[test]
fn its_schema_tells_each_operation() {
    let handler = memory(MemoryConfig::new(store()));
    let schema = &handler.spec().input_schema;
    let store = &schema["allOf"][0]["then"];
    assert_eq!(store["additionalProperties"], false);
    assert_eq!(store["properties"]["items"]["maxItems"], 1_000);
    assert_eq!(
        store["properties"]["items"]["items"]["properties"]["text"]["maxLength"],
        32_768
    );
    assert!(!schema.to_string().contains("$ref"), "{schema:#}");
    let validator = jsonschema::validator_for(schema).unwrap();
    for input in [
        handler.spec().example.clone(),
        json!({ "op": "store", "namespace": "n", "items": [{ "text": "a", "id": null, "tags": [] }] }),
        json!({ "op": "recall", "namespace": "n", "query": "", "limit": 100, "since": "2026-01-01T00:00:00Z" }),
        json!({ "op": "forget", "namespace": "n", "ids": ["a"] }),
        json!({ "op": "forget", "namespace": "n", "all": true }),
        json!({ "op": "stats", "namespace": "a.b:c-d_E" }),
    ] {
        assert!(validator.is_valid(&input), "{input}");
    }
    let example = handler.spec().example.to_string();
    run(&*handler.start().unwrap(), json_call(example)).unwrap();
}
