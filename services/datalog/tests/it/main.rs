//! The engine from outside: what programs mean, what is refused, and where evaluation ends.

mod language;
mod laws;
mod limits;
mod model;
mod proofs;

use tidepool_datalog::{Answers, EvaluateError, Limits, Program, Query, evaluate};

/// Answers a query within limits that never stop by themselves.
fn ask_within(program: &str, query: &str, limits: &Limits) -> Result<Answers, EvaluateError> {
    let program = Program::parse(program).unwrap_or_else(|error| panic!("{error}:\n{program}"));
    let query = Query::parse(query).unwrap_or_else(|error| panic!("{error}:\n{query}"));
    evaluate(&program, &query, limits, &mut || None)
}

fn ask(program: &str, query: &str) -> Answers {
    ask_within(program, query, &Limits::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// Answers in one line: values with commas, answers with spaces between.
fn answers(program: &str, query: &str) -> String {
    let rows = ask(program, query).rows;
    let row = |row: &Vec<tidepool_datalog::Value>| {
        let values: Vec<String> = row.iter().map(ToString::to_string).collect();
        values.join(",")
    };
    rows.iter().map(row).collect::<Vec<_>>().join(" ")
}
