//! What proofs say.

use tidepool_datalog::{Ground, Limits, Proof, ProofLimits};

use crate::ask_within;

fn prove(program: &str, query: &str) -> Vec<Proof> {
    let limits = Limits {
        proofs: Some(ProofLimits::default()),
        ..Limits::default()
    };
    let answers = ask_within(program, query, &limits).expect("within the limits");
    answers.proofs.expect("proofs were asked for")
}

/// One line for each conclusion, indented.
fn draw(proof: &Proof, depth: usize, text: &mut String) {
    let line = proof
        .line
        .map_or_else(String::new, |line| format!(" {line}"));
    text.push_str(&format!(
        "{}{} [{:?}{line}]\n",
        "  ".repeat(depth),
        proof.conclusion,
        proof.ground
    ));
    proof
        .premises
        .iter()
        .for_each(|premise| draw(premise, depth + 1, text));
}

fn drawn(program: &str, query: &str) -> String {
    let mut text = String::new();
    prove(program, query)
        .iter()
        .for_each(|proof| draw(proof, 0, &mut text));
    text
}

#[test]
fn a_proof_names_rules_facts_absences_and_comparisons() {
    let program = "age(ann, 70). age(bob, 40).\nparent(ann, bob).\n\
        retired(X) :- age(X, A), A >= 65.\n\
        heir(X, Y) :- parent(X, Y), retired(X), not retired(Y), not parent(Y, _).";
    let expected = "\
heir(ann, bob) [Rule 4]
  parent(ann, bob) [Fact 2]
  retired(ann) [Rule 3]
    age(ann, 70) [Fact 1]
    70 >= 65 [Comparison]
  not retired(bob) [Absence]
  not parent(bob, _) [Absence]
";
    assert_eq!(drawn(program, "heir(X, Y)"), expected);
    assert_eq!(drawn(program, "heir(ann, Y)"), expected);
}

#[test]
fn a_proof_on_a_cycle_ends_at_facts() {
    let program = "e(a, b). e(b, a).\nr(X, Y) :- e(X, Y).\nr(X, Z) :- e(X, Y), r(Y, Z).";
    let expected = "\
r(a, a) [Rule 3]
  e(a, b) [Fact 1]
  r(b, a) [Rule 2]
    e(b, a) [Fact 1]
";
    assert_eq!(drawn(program, "r(a, a)"), expected);
}

#[test]
fn a_query_of_several_literals_is_its_own_root() {
    let program = "p(1). p(2).";
    let expected = "\
p(1), 2 = 2, p(2), 1 < 2, not q(1, \"a b\") [Query]
  p(1) [Fact 1]
  2 = 2 [Comparison]
  p(2) [Fact 1]
  1 < 2 [Comparison]
  not q(1, \"a b\") [Absence]
";
    assert_eq!(
        drawn(program, "p(X), Y = 2, p(Y), X < Y, not q(X, \"a b\")"),
        expected
    );
}

#[test]
fn a_predicate_without_arguments_is_a_name() {
    assert_eq!(
        drawn("wet :- rain.\nrain.", "wet"),
        "wet [Rule 1]\n  rain [Fact 2]\n"
    );
}

#[test]
fn proofs_share_a_limit() {
    let program = "n(1). n(2). n(3). p(X) :- n(X).";
    let limits = Limits {
        proofs: Some(ProofLimits {
            depth_max: 10,
            nodes_max: 5,
        }),
        ..Limits::default()
    };
    let proofs = ask_within(program, "p(X)", &limits)
        .unwrap()
        .proofs
        .unwrap();
    let grounds: Vec<Ground> = proofs.iter().map(|proof| proof.ground).collect();
    // The query itself, the rule and the fact count each.
    assert_eq!(grounds, [Ground::Rule, Ground::Rule, Ground::Omitted]);
}
