//! Recursion over a family of 10,000 facts: all ancestors of all, and the descendants of one.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tidepool_datalog::{Answers, Limits, Program, Query, evaluate};

const FACTS: u64 = 10_000;

const RIGHT: &str = "ancestor(X, Y) :- parent(X, Y).
ancestor(X, Z) :- parent(X, Y), ancestor(Y, Z).\n";

/// A tree in which everybody has three children, names shuffled by a fixed rule.
fn family() -> String {
    let mut text = String::from(RIGHT);
    for child in 1..=FACTS {
        let parent = (child - 1) / 3;
        writeln!(text, "parent(p{parent}, p{child}).").expect("a text takes what is written");
    }
    text
}

fn answer(program: &Program, query: &str) -> Answers {
    let query = Query::parse(query).expect("the query is fixed");
    evaluate(program, &query, &Limits::default(), &mut || None).expect("within the limits")
}

fn ancestor(criterion: &mut Criterion) {
    let text = family();
    let program = Program::parse(&text).expect("the program is fixed");
    let mut group = criterion.benchmark_group("family_10k");
    group.sample_size(20);
    group.bench_function("parse", |b| b.iter(|| Program::parse(black_box(&text))));
    for (name, query) in [
        ("closure", "ancestor(X, Y)"),
        ("descendants_of_root", "ancestor(p0, W)"),
        ("descendants_of_one", "ancestor(p100, W)"),
        ("ancestors_of_one", "ancestor(W, p9999)"),
        ("one_pair", "ancestor(p0, p9999)"),
        ("fact", "parent(p0, W)"),
    ] {
        group.bench_function(name, |b| b.iter(|| answer(&program, black_box(query))));
    }
    group.finish();
}

criterion_group!(benches, ancestor);
criterion_main!(benches);
