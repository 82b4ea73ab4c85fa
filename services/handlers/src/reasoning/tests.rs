use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidepool_handler::{Call, Failure, Format, Handler, Instance, Payload, Work};

use super::{Bounds, Reasoning, reasoning};
use crate::testing::{answer, call_within, faults, json_call, run};

const FAMILY: &str = "parent(ann, bob). parent(bob, cid).\n\
                      ancestor(X, Y) :- parent(X, Y).\n\
                      ancestor(X, Z) :- parent(X, Y), ancestor(Y, Z).";

fn instance() -> std::sync::Arc<dyn Instance> {
    reasoning().start().expect("starts")
}

fn refused(input: &Value) -> Vec<(String, String)> {
    faults(run(&*instance(), json_call(input.to_string())))
}

/// All quadruples of a thousand constants.
fn explosive() -> Value {
    let facts: String = (0..1_000).map(|i| format!("n({i}).\n")).collect();
    let rule = "p(X, Y, Z, W) :- n(X), n(Y), n(Z), n(W).";
    json!({ "program": facts + rule, "query": "p(A, B, C, D)", "max_facts": 10_000_000 })
}

#[test]
fn answers_the_example_of_the_contract() {
    let output = answer(
        &*instance(),
        &json!({ "program": FAMILY, "query": "ancestor(ann, W)" }),
    );
    let expected = json!({
        "answers": [{ "W": "bob" }, { "W": "cid" }],
        "count": 2, "truncated": false, "derived_facts": 2,
    });
    assert_eq!(output, expected);
}

#[test]
fn integers_are_numbers_and_ground_queries_are_yes_or_no() {
    let program = "age(ann, 42). age(bob, -7). name(ann, \"Ann Lee\").";
    let ask = |query: &str| {
        let input = json!({ "program": program, "query": query });
        answer(&*instance(), &input)["answers"].clone()
    };
    assert_eq!(
        ask("age(P, A), A < 50"),
        json!([{ "P": "ann", "A": 42 }, { "P": "bob", "A": -7 }])
    );
    assert_eq!(ask("name(ann, N)"), json!([{ "N": "Ann Lee" }]));
    assert_eq!(ask("age(ann, 42)"), json!([{}]));
    assert_eq!(ask("age(ann, 43)"), json!([]));
}

#[test]
fn returns_the_first_answers_and_counts_all() {
    let program: String = (0..50).map(|i| format!("n({i}).")).collect();
    let input = json!({ "program": program, "query": "n(X)", "limit": 2 });
    let output = answer(&*instance(), &input);
    assert_eq!(output["answers"], json!([{ "X": 0 }, { "X": 1 }]));
    assert_eq!(
        (&output["count"], &output["truncated"]),
        (&json!(50), &json!(true))
    );
}

#[test]
fn proves_what_it_answers_on_request() {
    let input = json!({ "program": FAMILY, "query": "ancestor(ann, cid)", "explain": true });
    let fact = |conclusion: &str| json!({ "conclusion": conclusion, "by": "fact", "line": 1 });
    let expected = json!([{
        "conclusion": "ancestor(ann, cid)", "by": "rule", "line": 3,
        "premises": [
            fact("parent(ann, bob)"),
            {
                "conclusion": "ancestor(bob, cid)", "by": "rule", "line": 2,
                "premises": [fact("parent(bob, cid)")],
            },
        ],
    }]);
    assert_eq!(answer(&*instance(), &input)["proofs"], expected);
}

#[test]
fn answers_in_messagepack_too() {
    let input = json!({ "program": FAMILY, "query": "ancestor(W, cid)" });
    let packed = Payload::encode(&input, Format::MsgPack).expect("packs");
    let call = call_within(Format::MsgPack, packed.bytes, Duration::from_secs(60));
    let output: Value = run(&*instance(), call)
        .expect("answers")
        .decode()
        .expect("reads");
    assert_eq!(output["answers"], json!([{ "W": "ann" }, { "W": "bob" }]));
}

#[test]
fn names_the_place_of_each_mistake() {
    let input = json!({ "program": "ok(a).\nwin(X) :- move(X, Y), not win(Y).", "query": "ok(X" });
    let found = refused(&input);
    assert_eq!(found[0].0, "/program");
    assert!(
        found[0]
            .1
            .starts_with("line 2, column 27: negation in a cycle"),
        "{found:?}"
    );
    assert_eq!(found[1].0, "/query");
    assert!(
        found[1].1.starts_with("line 1, column 5: expected"),
        "{found:?}"
    );

    let unsafe_rule = json!({ "program": "p(X, Y) :- q(X).", "query": "p(a, B)" });
    let found = refused(&unsafe_rule);
    assert!(
        found[0].1.starts_with("line 1, column 6: 'Y' in the head"),
        "{found:?}"
    );

    let misfit = json!({ "program": FAMILY, "query": "parent(X)" });
    let found = refused(&misfit);
    assert_eq!(found[0].0, "/query");
    assert!(found[0].1.contains("2 arguments"), "{found:?}");
}

#[test]
fn refuses_inputs_that_do_not_fit() {
    let with = |member: &str, value: Value| {
        let mut input = json!({ "program": FAMILY, "query": "parent(X, Y)" });
        input[member] = value;
        refused(&input)
    };
    assert_eq!(with("limit", json!(100_001))[0].0, "/limit");
    assert_eq!(with("limit", json!(-1))[0].0, "/limit");
    assert_eq!(with("max_facts", json!(10_000_001))[0].0, "/max_facts");
    assert_eq!(
        with("program", json!(" ".repeat((2 << 20) + 1)))[0].0,
        "/program"
    );
    assert!(with("colour", json!("blue"))[0].1.contains("colour"));
}

#[test]
fn too_many_facts_exceed_a_limit() {
    let mut input = explosive();
    input["max_facts"] = json!(1_000);
    match run(&*instance(), json_call(input.to_string())) {
        Err(Failure::LimitExceeded { detail }) => {
            assert!(detail.contains("1000 facts"), "{detail}")
        }
        other => panic!("not limited: {other:?}"),
    }
}

#[test]
fn too_much_memory_exceeds_a_limit() {
    let bounds = Bounds {
        memory_bytes_max: 1 << 20,
        ..Bounds::default()
    };
    let small = Reasoning::within(bounds).start().expect("starts");
    match run(&*small, json_call(explosive().to_string())) {
        Err(Failure::LimitExceeded { detail }) => assert!(detail.contains("memory"), "{detail}"),
        other => panic!("not limited: {other:?}"),
    }
}

#[test]
fn an_explosive_program_is_refused_before_its_deadline() {
    // A join that derives nothing runs into no other limit.
    let mut input = explosive();
    input["query"] = json!("n(A), n(B), n(C), n(D), A < B, B < C, C < D, D < A");
    let budget = Duration::from_millis(400);
    let call = call_within(Format::Json, input.to_string(), budget);
    let deadline = call.context.deadline;
    let reply = run(&*instance(), call);
    let left = deadline.remaining(Instant::now());
    match reply {
        Err(Failure::LimitExceeded { detail }) => assert!(detail.contains("deadline"), "{detail}"),
        other => panic!("not limited: {other:?}"),
    }
    assert!(left < budget / 2, "stopped long before: {left:?} left");
}

#[test]
fn cancelled_work_ends_at_once() {
    let call: Call = json_call(explosive().to_string());
    let context = call.context.clone();
    let Work::Compute(compute) = instance().call(call) else {
        panic!("does not compute");
    };
    context.cancel();
    assert_eq!(compute(), Err(Failure::Cancelled));
}

#[test]
fn records_its_steps() {
    let call = json_call(json!({ "program": FAMILY, "query": "parent(X, Y)" }).to_string());
    let context = call.context.clone();
    run(&*instance(), call).expect("answers");
    let names: Vec<_> = context
        .take_recorded()
        .iter()
        .map(|step| step.name)
        .collect();
    assert_eq!(names, ["reasoning.parse", "reasoning.evaluate"]);
}

#[test]
fn its_own_example_works() {
    let handler = reasoning();
    let output = answer(&*instance(), &handler.spec().example);
    assert_eq!(output["count"], json!(2));
}
