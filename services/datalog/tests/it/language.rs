//! What programs mean, and what is no program.

use tidepool_datalog::{ErrorKind, EvaluateError, Limits, Program, Query};

use crate::{answers, ask, ask_within};

const FAMILY: &str = "
    parent(ann, bob). parent(ann, eve). parent(bob, cid). parent(cid, dan). parent(zoe, eve).
    ancestor(X, Y) :- parent(X, Y).
    ancestor(X, Z) :- parent(X, Y), ancestor(Y, Z).
";

#[test]
fn follows_recursion_in_any_direction() {
    let left = "parent(ann, bob). parent(bob, cid). parent(cid, dan). parent(ann, eve).
        parent(zoe, eve).
        ancestor(X, Y) :- parent(X, Y).
        ancestor(X, Z) :- ancestor(X, Y), parent(Y, Z).";
    let both = &left.replace("parent(Y, Z)", "ancestor(Y, Z)");
    for program in [FAMILY, left, both] {
        assert_eq!(answers(program, "ancestor(ann, W)"), "bob cid dan eve");
        assert_eq!(answers(program, "ancestor(W, eve)"), "ann zoe");
        assert_eq!(answers(program, "ancestor(bob, dan)"), "");
        assert_eq!(ask(program, "ancestor(bob, dan)").count, 1);
        assert_eq!(ask(program, "ancestor(dan, bob)").count, 0);
        assert_eq!(ask(program, "ancestor(X, Y)").count, 8);
        assert_eq!(ask(program, "ancestor(X, X)").count, 0);
    }
}

#[test]
fn ends_on_cycles() {
    let program = "edge(a, b). edge(b, c). edge(c, a). edge(c, d).
        reach(X, Y) :- edge(X, Y).
        reach(X, Z) :- edge(X, Y), reach(Y, Z).";
    assert_eq!(answers(program, "reach(a, W)"), "a b c d");
    assert_eq!(answers(program, "reach(d, W)"), "");
    assert_eq!(answers(program, "reach(X, X)"), "a b c");
}

#[test]
fn facts_of_a_recursive_predicate_count_on_the_way() {
    let program = "edge(a, b). edge(b, c). reach(c, z). reach(q, y).
        reach(X, Y) :- edge(X, Y).
        reach(X, Z) :- edge(X, Y), reach(Y, Z).";
    assert_eq!(answers(program, "reach(a, W)"), "b c z");
}

#[test]
fn handles_mutual_recursion() {
    let program = "next(0, 1). next(1, 2). next(2, 3). next(3, 4).
        even(0). even(Y) :- odd(X), next(X, Y). odd(Y) :- even(X), next(X, Y).";
    assert_eq!(answers(program, "even(X)"), "0 2 4");
    assert_eq!(answers(program, "odd(X)"), "1 3");
    assert_eq!(ask(program, "odd(3), not even(3)").count, 1);
}

#[test]
fn same_generation_needs_both_sides() {
    let program = "up(a, p). up(b, p). up(c, q). up(p, r). up(q, r).
        same(X, X) :- up(X, _). same(X, X) :- up(_, X).
        same(X, Y) :- up(X, A), same(A, B), up(Y, B).";
    assert_eq!(answers(program, "same(a, W)"), "a b c");
}

#[test]
fn negation_is_the_absence_of_facts() {
    let program = "person(ann). person(bob). person(cid). parent(ann, bob).
        childless(X) :- person(X), not parent(X, _).
        orphan(X) :- person(X), \\+ parent(_, X).
        unrelated(X, Y) :- person(X), person(Y), !parent(X, Y), !parent(Y, X), X != Y.";
    assert_eq!(answers(program, "childless(X)"), "bob cid");
    assert_eq!(answers(program, "orphan(X)"), "ann cid");
    assert_eq!(answers(program, "unrelated(ann, X)"), "cid");
    assert_eq!(answers(program, "person(X), not childless(X)"), "ann");
    assert_eq!(ask(program, "not parent(bob, _)").count, 1);
    assert_eq!(ask(program, "not parent(_, _)").count, 0);
    assert_eq!(ask(program, "not nobody(ann)").count, 1);
}

#[test]
fn negation_of_recursion_sees_all_of_it() {
    let program = &format!(
        "{FAMILY} person(X) :- parent(X, _). person(X) :- parent(_, X).
        strangers(X, Y) :- person(X), person(Y), X < Y, not ancestor(X, Y), not ancestor(Y, X)."
    );
    assert_eq!(answers(program, "strangers(bob, W)"), "eve zoe");
    assert_eq!(
        answers(program, "ancestor(ann, W), not ancestor(zoe, W)"),
        "bob cid dan"
    );
}

#[test]
fn constants_have_one_order() {
    let program = r#"v(10). v(9). v(-1). v("10"). v("9"). v(b). v("a b"). v("B")."#;
    assert_eq!(answers(program, "v(X)"), r#"-1 9 10 "10" "9" "B" "a b" b"#);
    assert_eq!(answers(program, "v(X), X < 10"), "-1 9");
    assert_eq!(
        answers(program, "v(X), X >= 10, X <= \"9\""),
        "10 \"10\" \"9\""
    );
    assert_eq!(answers(program, "v(X), X > \"a\""), "\"a b\" b");
    assert_eq!(
        ask(program, "9223372036854775807 > -9223372036854775808").count,
        1
    );
}

#[test]
fn an_atom_is_a_text_without_quotes() {
    assert_eq!(answers("p(\"bob\"). q(bob).", "p(X), q(X)"), "bob");
    assert_eq!(
        answers(r#"p("say \"hi\"\n\\")."#, "p(X)"),
        r#""say \"hi\"\n\\""#
    );
    assert_eq!(
        answers("größe(straße, 東京).", "größe(X, Y)"),
        "straße,東京"
    );
}

#[test]
fn equality_binds() {
    let program = "p(1). p(2). q(X, Y) :- p(X), Y = X. r(X) :- X = 2, p(X). s(X) :- X = Y, Y = 5.";
    assert_eq!(answers(program, "q(1, Y)"), "1");
    assert_eq!(answers(program, "r(X)"), "2");
    assert_eq!(answers(program, "s(X)"), "5");
    assert_eq!(answers(program, "p(X), X = Y, Y == 2"), "2,2");
}

#[test]
fn comments_blanks_and_decorations_are_skipped() {
    let program = "\u{feff}% one\n# two\n// three\r\n p ( a ) .\n\tq():-p(a).% end";
    assert_eq!(answers(program, "?- p(X)."), "a");
    assert_eq!(ask(program, "q?").count, 1);
    assert_eq!(ask("", "p(X)").count, 0);
}

#[test]
fn variables_that_begin_with_an_underscore_are_not_shown() {
    let program = "p(a, b). p(c, d). p(e, b).";
    assert_eq!(answers(program, "p(X, _Y)"), "a c e");
    assert_eq!(answers(program, "p(X, _Y), p(_Z, _Y), X != _Z"), "a e");
    let variables = ask(program, "p(B, A), A != B").variables;
    assert_eq!(variables, ["B".into(), "A".into()]);
}

#[test]
fn answers_are_distinct_sorted_and_cut_to_the_limit() {
    let program = "p(3, x). p(1, y). p(1, z). p(2, x).";
    assert_eq!(answers(program, "p(N, _)"), "1 2 3");
    let limits = Limits {
        answers_max: 2,
        ..Limits::default()
    };
    let cut = ask_within(program, "p(N, _)", &limits).unwrap();
    assert_eq!((cut.rows.len(), cut.count, cut.truncated()), (2, 3, true));
    assert_eq!(cut.rows, ask(program, "p(N, _), N < 3").rows);
}

fn refusal(program: &str) -> (ErrorKind, u32, u32, String) {
    let error = Program::parse(program).expect_err(program);
    (error.kind, error.line, error.column, error.message)
}

#[test]
fn mistakes_have_a_place() {
    use ErrorKind::{Arity, Syntax, Unsafe};
    for (program, kind, line, column) in [
        ("p(a)", Syntax, 1, 5),
        ("p(a).\nq(b", Syntax, 2, 4),
        ("p(a) q(b).", Syntax, 1, 6),
        ("P(a).", Syntax, 1, 1),
        ("p(\"ab).\n", Syntax, 1, 3),
        ("p(1.5).", Syntax, 1, 3),
        ("p(12ab).", Syntax, 1, 3),
        ("p(99999999999999999999).", Syntax, 1, 3),
        ("p(f(x)).", Syntax, 1, 4),
        ("p(X) :- q(X); r(X).", Syntax, 1, 13),
        ("p(X) :- q(X), X < 1 + 2.", Syntax, 1, 21),
        ("p(X) :- q(X), Y.", Syntax, 1, 16),
        ("p(X) :- .", Syntax, 1, 9),
        ("p(X) :- not X < 3.", Syntax, 1, 13),
        ("p(\"é\", \"\\q\").", Syntax, 1, 9),
        ("p(a).\np(a, b).", Arity, 2, 1),
        ("p(a, X).", Unsafe, 1, 6),
        ("p(_).", Unsafe, 1, 3),
        ("p(X, Y) :- q(X).", Unsafe, 1, 6),
        ("p(X) :- q(X), not r(X, Y).", Unsafe, 1, 24),
        ("p(X) :- q(X), Y < X.", Unsafe, 1, 15),
        ("p(X) :- q(X), Y = Z.", Unsafe, 1, 15),
        ("p(X) :- q(X), X != _.", Unsafe, 1, 20),
    ] {
        let (found, at_line, at_column, message) = refusal(program);
        assert_eq!(
            (found, at_line, at_column),
            (kind, line, column),
            "{program}: {message}"
        );
    }
}

#[test]
fn negation_in_a_cycle_names_the_cycle() {
    let (kind, line, column, message) = refusal("win(X) :-\n  move(X, Y), not win(Y).");
    assert_eq!((kind, line, column), (ErrorKind::Unstratified, 2, 19));
    assert_eq!(message, "negation in a cycle: win -> not win");
    let (.., message) = refusal("p :- q. q :- r. r :- s, not p. s.");
    assert_eq!(message, "negation in a cycle: r -> not p -> q -> r");
    let (.., message) = refusal("a(X) :- e(X), not b(X). b(X) :- e(X), not a(X).");
    assert_eq!(message, "negation in a cycle: a -> not b -> not a");
}

#[test]
fn long_cycles_are_shortened() {
    let chain: String = (0..5_000)
        .map(|i| format!("p{} :- p{i}.\n", i + 1))
        .collect();
    let (.., message) = refusal(&(chain + "p0 :- not p5000."));
    assert!(message.ends_with(" -> ..."), "{message}");
    assert!(message.len() < 200, "{message}");
}

#[test]
fn clauses_have_bounds() {
    let arguments = vec!["a"; 17].join(",");
    assert_eq!(refusal(&format!("p({arguments}).")).0, ErrorKind::Size);
    let body = vec!["q"; 33].join(",");
    assert_eq!(refusal(&format!("p :- {body}.")).0, ErrorKind::Size);
    assert_eq!(
        refusal(&format!("p({}).", "a".repeat(5_000))).0,
        ErrorKind::Size
    );
    assert_eq!(
        refusal(&format!("p(\"{}\").", "a".repeat(5_000))).0,
        ErrorKind::Size
    );
    assert_eq!(refusal(&"p :- q.\n".repeat(20_001)).0, ErrorKind::Size);
}

#[test]
fn a_query_must_fit_the_program() {
    let error = ask_within("p(a, b).", "p(X)", &Limits::default()).unwrap_err();
    let EvaluateError::Query(error) = error else {
        panic!("{error:?}");
    };
    assert_eq!(
        (error.kind, error.line, error.column),
        (ErrorKind::Arity, 1, 1)
    );
    for (query, column) in [
        ("", 1),
        ("p(X), ", 7),
        ("p(X) p(Y)", 6),
        ("p(X), Y < 3", 7),
        ("not p(X)", 7),
    ] {
        let error = Query::parse(query).expect_err(query);
        assert_eq!((error.line, error.column), (1, column), "{query}: {error}");
    }
}
