//! Where evaluation ends when a program does not.

use std::fmt::Write as _;

use tidepool_datalog::{EvaluateError, Limits, Program, ProofLimits, Query, Stop, evaluate};

use crate::{ask, ask_within};

/// All quadruples of a thousand constants.
fn explosive() -> String {
    let mut program = String::from("p(X, Y, Z, W) :- n(X), n(Y), n(Z), n(W).\n");
    for i in 0..1_000 {
        writeln!(program, "n({i}).").expect("a text grows");
    }
    program
}

/// `0 -> 1 -> ... -> length`.
fn chain(length: u32, rules: &str) -> String {
    let mut program = String::from(rules);
    for i in 0..length {
        writeln!(program, "edge({i}, {}).", i + 1).expect("a text grows");
    }
    program
}

const RIGHT: &str = "reach(X, Y) :- edge(X, Y). reach(X, Z) :- edge(X, Y), reach(Y, Z).\n";
const LEFT: &str = "reach(X, Y) :- edge(X, Y). reach(X, Z) :- reach(X, Y), edge(Y, Z).\n";

#[test]
fn stops_at_the_limit_of_facts() {
    let limits = Limits {
        facts_max: 10_000,
        ..Limits::default()
    };
    for query in ["p(A, B, C, D)", "p(A, B, C, 7)", "n(A), n(B), n(C)"] {
        let error = ask_within(&explosive(), query, &limits).unwrap_err();
        assert_eq!(error, EvaluateError::Facts { facts_max: 10_000 }, "{query}");
    }
}

#[test]
fn exactly_the_limit_of_facts_is_allowed() {
    let limits = |facts_max| Limits {
        facts_max,
        ..Limits::default()
    };
    let program = "n(1). n(2). n(3). p(X, Y) :- n(X), n(Y).";
    let answers = ask_within(program, "p(X, Y)", &limits(9)).unwrap();
    assert_eq!((answers.count, answers.derived_facts), (9, 9));
    assert!(ask_within(program, "p(X, Y)", &limits(8)).is_err());
}

#[test]
fn stops_at_the_limit_of_memory() {
    let limits = Limits {
        facts_max: u64::MAX,
        memory_bytes_max: 4 << 20,
        ..Limits::default()
    };
    let error = ask_within(&explosive(), "p(A, B, C, D)", &limits).unwrap_err();
    assert_eq!(
        error,
        EvaluateError::Memory {
            memory_bytes_max: 4 << 20
        }
    );
}

#[test]
fn stops_inside_a_join_as_soon_as_it_is_told() {
    let program = Program::parse(&explosive()).unwrap();
    // The second one derives nothing, and so meets no other limit.
    for query in [
        "p(A, B, C, D)",
        "n(A), n(B), n(C), n(D), A < B, B < A, C < D",
    ] {
        let query = Query::parse(query).unwrap();
        for reason in [Stop::Deadline, Stop::Cancelled] {
            let mut looks = 0;
            let mut stop = || {
                looks += 1;
                (looks == 100).then_some(reason)
            };
            let result = evaluate(&program, &query, &Limits::default(), &mut stop);
            assert_eq!(result, Err(EvaluateError::Stopped(reason)));
            assert_eq!(looks, 100);
        }
    }
}

#[test]
fn work_that_is_late_already_does_not_begin() {
    let program = Program::parse("p(a).").unwrap();
    let query = Query::parse("p(X)").unwrap();
    let result = evaluate(&program, &query, &Limits::default(), &mut || {
        Some(Stop::Deadline)
    });
    assert_eq!(result, Err(EvaluateError::Stopped(Stop::Deadline)));
}

#[test]
fn deep_recursion_costs_no_stack() {
    for rules in [RIGHT, LEFT] {
        let answers = ask(&chain(100_000, rules), "reach(0, W)");
        assert_eq!((answers.count, answers.rows.len()), (100_000, 1_000));
    }
    let up = ask(&chain(100_000, LEFT), "reach(W, 100000)");
    assert_eq!(up.count, 100_000);
}

#[test]
fn proofs_of_deep_recursion_are_cut() {
    let limits = Limits {
        answers_max: 3,
        proofs: Some(ProofLimits {
            depth_max: 30,
            nodes_max: 1_000,
        }),
        ..Limits::default()
    };
    let answers = ask_within(&chain(20_000, LEFT), "reach(0, W), W > 19990", &limits).unwrap();
    let text = format!("{:?}", answers.proofs.unwrap());
    assert_eq!(text.matches("Omitted").count(), 3);
}

#[test]
fn chains_of_predicates_cost_no_stack() {
    let mut program = String::from("p0(a).\n");
    for i in 0..19_000 {
        writeln!(program, "p{}(X) :- p{i}(X).", i + 1).unwrap();
    }
    assert_eq!(ask(&program, "p19000(X)").count, 1);
}

#[test]
fn derives_only_what_is_asked_for() {
    let linear = |answers: &tidepool_datalog::Answers| answers.derived_facts;
    let program = chain(2_000, RIGHT);
    // The whole closure would be two million facts.
    assert_eq!(linear(&ask(&program, "reach(0, W)")), 2_000);
    assert_eq!(linear(&ask(&program, "reach(W, 2000)")), 2_000);
    assert_eq!(linear(&ask(&program, "reach(1990, W)")), 10);
    assert_eq!(linear(&ask(&program, "edge(X, 7)")), 0);
    // Nothing that the query does not depend on.
    let unrelated = explosive() + "q(a). r(X) :- q(X).";
    assert_eq!(linear(&ask(&unrelated, "r(X)")), 1);
    // Through rules in between, and for several who ask.
    let between = chain(2_000, RIGHT) + "far(W) :- reach(1995, W).";
    assert_eq!(linear(&ask(&between, "far(W)")), 10);
    assert_eq!(linear(&ask(&program, "reach(1998, W), reach(1999, W)")), 3);
}

#[test]
fn long_bodies_of_calls_do_not_multiply() {
    // Each literal would be a demand with all literals before it.
    let calls: Vec<String> = (0..32).map(|i| format!("r{i}(X)")).collect();
    let mut program = String::from("n(1).\n");
    for i in 0..32 {
        writeln!(program, "r{i}(X) :- n(X).").unwrap();
    }
    for i in 0..600 {
        writeln!(program, "p{i}(X) :- {}.", calls.join(", ")).unwrap();
    }
    let all: Vec<String> = (0..32).map(|i| format!("p{i}(X)")).collect();
    assert_eq!(ask(&program, &all.join(", ")).count, 1);
}
