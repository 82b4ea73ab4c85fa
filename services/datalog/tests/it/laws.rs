//! Laws: the engine agrees with one that tries everything, proofs prove, nothing panics.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tidepool_datalog::{
    Answers, Ground, Limits, Program, Proof, ProofLimits, Query, Value, evaluate,
};

use crate::ask_within;
use crate::model::{
    Atom, Constant, Facts, Literal, Rule, Term, body_text, closure, fact_text, program_text,
    solutions, variables,
};

/// Constants are 0 to 3, variables V0 to V3.
const CONSTANTS: Constant = 4;
/// Written predicates and their arities.
const WRITTEN: [(&str, usize); 2] = [("e", 2), ("n", 1)];
/// Derived predicates by stratum.
const DERIVED: [&[(&str, usize)]; 2] = [&[("p", 2), ("q", 1), ("t", 2)], &[("r", 2), ("s", 1)]];

#[derive(Clone, Debug)]
struct Case {
    facts: Facts,
    rules: Vec<Rule>,
    query: Vec<Literal>,
}

fn term() -> impl Strategy<Value = Term> {
    prop_oneof![
        5 => (0..4_u8).prop_map(Term::Variable),
        1 => (0..CONSTANTS).prop_map(Term::Constant),
    ]
}

fn atom(predicates: Vec<(&'static str, usize)>) -> impl Strategy<Value = Atom> {
    let pick = prop::sample::select(predicates);
    (pick, prop::collection::vec(term(), 2)).prop_map(|((name, arity), terms)| Atom {
        predicate: name.into(),
        terms: terms.into_iter().take(arity).collect(),
    })
}

/// Predicates that a stratum may use: up to itself, or strictly below.
fn usable(strata: usize) -> Vec<(&'static str, usize)> {
    let derived = DERIVED[..strata].iter().copied().flatten();
    WRITTEN.iter().chain(derived).copied().collect()
}

/// One to three positive literals, and perhaps a negation and a comparison of what they bind.
fn body(stratum: usize) -> impl Strategy<Value = Vec<Literal>> {
    let positive = prop::collection::vec(atom(usable(stratum + 1)), 1..4);
    let negative = prop::option::weighted(0.3, atom(usable(stratum)));
    let signs = prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">="]);
    let comparison = prop::option::weighted(0.3, (term(), signs, term()));
    (positive, negative, comparison).prop_map(|(positive, negative, comparison)| {
        let mut body: Vec<Literal> = positive.into_iter().map(Literal::Holds).collect();
        let bound = bound(&body);
        let safe = |term| make_safe(term, &bound);
        if let Some((left, sign, right)) = comparison {
            body.push(Literal::Compare(safe(left), sign, safe(right)));
        }
        if let Some(mut atom) = negative {
            atom.terms = atom.terms.into_iter().map(safe).collect();
            body.insert(0, Literal::Absent(atom));
        }
        body
    })
}

fn bound(body: &[Literal]) -> Vec<u8> {
    body.iter().flat_map(variables).collect()
}

/// Puts a bound variable, or a constant, in place of one that is not bound.
fn make_safe(term: Term, bound: &[u8]) -> Term {
    match term {
        Term::Variable(variable) if !bound.contains(&variable) => bound
            .get(usize::from(variable) % bound.len().max(1))
            .map_or(Term::Constant(0), |&variable| Term::Variable(variable)),
        term => term,
    }
}

fn rule() -> impl Strategy<Value = Rule> {
    (0..2_usize).prop_flat_map(|stratum| {
        (atom(DERIVED[stratum].to_vec()), body(stratum)).prop_map(move |(mut head, body)| {
            let positive: Vec<u8> = bound(&body);
            head.terms = head
                .terms
                .into_iter()
                .map(|term| make_safe(term, &positive))
                .collect();
            Rule {
                stratum,
                head,
                body,
            }
        })
    })
}

/// Right-recursive rules, which chance seldom finds.
fn walk() -> impl Strategy<Value = Vec<Rule>> {
    let predicate = prop::sample::select(vec!["p", "t"]);
    (predicate, any::<bool>(), atom(usable(0))).prop_map(|(name, right, extra)| {
        let atom = |predicate: &str, a, b| Atom {
            predicate: predicate.into(),
            terms: vec![Term::Variable(a), Term::Variable(b)],
        };
        let (x, y, z) = if right { (0, 1, 2) } else { (2, 1, 0) };
        let step = if right {
            atom("e", x, y)
        } else {
            atom("e", y, x)
        };
        let call = if right {
            atom(name, y, z)
        } else {
            atom(name, z, y)
        };
        let rule = |head, body| Rule {
            stratum: 0,
            head,
            body,
        };
        let head = if right {
            atom(name, x, z)
        } else {
            atom(name, z, x)
        };
        vec![
            rule(atom(name, 0, 1), vec![Literal::Holds(atom("e", 0, 1))]),
            rule(
                head,
                vec![
                    Literal::Holds(extra),
                    Literal::Holds(call),
                    Literal::Holds(step),
                ],
            ),
        ]
    })
}

fn facts() -> impl Strategy<Value = Facts> {
    let pairs = prop::collection::vec((0..CONSTANTS, 0..CONSTANTS), 0..8);
    let singles = prop::collection::vec(0..CONSTANTS, 0..4);
    let derived = prop::option::weighted(0.2, (0..CONSTANTS, 0..CONSTANTS));
    (pairs, singles, derived).prop_map(|(pairs, singles, derived)| {
        let pairs = pairs.into_iter().map(|(a, b)| ("e".to_owned(), vec![a, b]));
        let singles = singles.into_iter().map(|a| ("n".to_owned(), vec![a]));
        let derived = derived.map(|(a, b)| ("p".to_owned(), vec![a, b]));
        pairs.chain(singles).chain(derived).collect()
    })
}

fn case() -> impl Strategy<Value = Case> {
    let rules = prop::collection::vec(rule(), 1..6);
    let known = (atom(usable(2)), 0..CONSTANTS).prop_map(|(mut atom, constant)| {
        atom.terms[0] = Term::Constant(constant);
        vec![Literal::Holds(atom)]
    });
    let query = prop_oneof![2 => body(1), 2 => known];
    let walk = prop::option::of(walk());
    (facts(), rules, walk, query).prop_map(|(facts, rules, walk, query)| Case {
        facts,
        rules: walk.into_iter().flatten().chain(rules).collect(),
        query,
    })
}

/// The answers by trying everything: the values of the variables in order of occurrence.
fn expected(case: &Case, known: &Facts) -> BTreeSet<Vec<Constant>> {
    let mut shown: Vec<u8> = Vec::new();
    for variable in bound(&case.query) {
        if !shown.contains(&variable) {
            shown.push(variable);
        }
    }
    let all = solutions(known, &case.query, CONSTANTS);
    let row = |values: Vec<Constant>| shown.iter().map(|&v| values[usize::from(v)]).collect();
    all.into_iter().map(row).collect()
}

fn found(answers: &Answers) -> Vec<Vec<Constant>> {
    let constant = |value: &Value| match value {
        Value::Integer(integer) => Constant::try_from(*integer).expect("a small integer"),
        Value::Text(text) => panic!("a text: {text}"),
    };
    let rows = answers.rows.iter();
    rows.map(|row| row.iter().map(constant).collect()).collect()
}

/// Each conclusion is true, each fact written, each absence a fact.
fn check_proof(proof: &Proof, known: &BTreeSet<String>, written: &BTreeSet<String>) {
    let text = &proof.conclusion;
    match proof.ground {
        Ground::Fact => assert!(written.contains(text), "{text} is not written"),
        Ground::Rule => {
            assert!(known.contains(text), "{text} does not follow");
            assert!(!proof.premises.is_empty(), "{text} follows from nothing");
        }
        Ground::Absence => {
            let fact = text.strip_prefix("not ").expect("a negation");
            assert!(!known.contains(fact), "{text} is false");
        }
        Ground::Query | Ground::Comparison => {}
        Ground::Omitted => panic!("{text} was left out"),
    }
    let premises = proof.premises.iter();
    premises.for_each(|premise| check_proof(premise, known, written));
}

fn texts(facts: &Facts) -> BTreeSet<String> {
    facts
        .iter()
        .map(|(name, constants)| fact_text(name, constants))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn agrees_with_trying_everything(case in case()) {
        let program = program_text(&case.facts, &case.rules);
        let query = body_text(&case.query);
        let known = closure(&case.facts, &case.rules, CONSTANTS);
        let wanted: Vec<Vec<Constant>> = expected(&case, &known).into_iter().collect();
        let proving = Limits {
            proofs: Some(ProofLimits { depth_max: 100, nodes_max: 100_000 }),
            ..Limits::default()
        };
        // With and without proofs, as they differ in what may be rewritten.
        for limits in [Limits::default(), proving] {
            let answers = ask_within(&program, &query, &limits).expect("no limit is near");
            prop_assert_eq!(found(&answers), wanted.clone(), "{}?- {}", program, query);
            let derivable = known.len() as u64;
            prop_assert!(answers.derived_facts <= derivable, "{}?- {}", program, query);
            for proof in answers.proofs.iter().flatten() {
                check_proof(proof, &texts(&known), &texts(&case.facts));
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused_with_a_place_in_it(text in any_text()) {
        let lines = text.lines().count() as u32 + 1;
        match Program::parse(&text) {
            Ok(program) => {
                let query = Query::parse("p(X), not q(X)").unwrap();
                let _ = evaluate(&program, &query, &Limits::default(), &mut || None);
            }
            Err(error) => prop_assert!((1..=lines).contains(&error.line), "{error}"),
        }
        if let Ok(query) = Query::parse(&text) {
            let program = Program::parse("p(a, 1). q(X) :- p(X, _).").unwrap();
            let _ = evaluate(&program, &query, &Limits::default(), &mut || None);
        }
    }

    #[test]
    fn values_are_written_as_they_are_read(text in any::<String>(), integer in any::<i64>()) {
        for value in [Value::Text(text.into()), Value::Integer(integer)] {
            let written = value.to_string();
            let Ok(program) = Program::parse(&format!("p({written}).")) else {
                // Line breaks and control characters have no place in a text.
                continue;
            };
            let query = Query::parse("p(X)").unwrap();
            let answers = evaluate(&program, &query, &Limits::default(), &mut || None).unwrap();
            prop_assert_eq!(&answers.rows[0][0], &value);
        }
    }
}

/// Anything, and things that look like programs from afar.
fn any_text() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "p",
        "q",
        "X",
        "Y",
        "_",
        "(",
        ")",
        ",",
        ".",
        ":-",
        "not",
        "!",
        "\\+",
        "=",
        "!=",
        "<",
        ">=",
        "1",
        "-7",
        "\"a\"",
        "\"",
        "\\",
        "%",
        "\n",
        " ",
        "?",
        "?-",
        "é",
        "9999999999999999999",
        "p(X)",
        "q(X)",
        "p(a).",
        "q(X) :- p(X).",
        "p(X) :- q(X), not p(X).",
        ":",
        "-",
        "/",
        "//",
        "#",
    ]);
    prop_oneof![
        1 => any::<String>(),
        3 => prop::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.concat()),
    ]
}
