//! Errors as callers of an HTTP API see them: the body of an RFC 9457 problem, the same for clients
//! and for operators.

use serde::Serialize;

/// The media type of the body.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What is the same for every problem of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProblemType {
    /// Stable name, which programs go by.
    pub code: &'static str,
    /// HTTP status.
    pub status: u16,
    /// The name for people.
    pub title: &'static str,
    /// Whether the same request may succeed later.
    pub retryable: bool,
}

/// Who asked for what.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// The path that was asked for.
    pub instance: &'a str,
    /// Empty when the request has none yet.
    pub request_id: &'a str,
    /// Empty when the request has none yet.
    pub trace_id: &'a str,
}

#[derive(Serialize)]
struct Body<'a, F> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    code: &'static str,
    retryable: bool,
    request_id: &'a str,
    trace_id: &'a str,
    #[serde(skip_serializing_if = "<[F]>::is_empty")]
    errors: &'a [F],
}

/// The body that tells `subject` of a problem; `errors` name what of the request is wrong.
#[must_use]
pub fn problem_json<F: Serialize>(
    problem: ProblemType,
    detail: &str,
    subject: Subject<'_>,
    errors: &[F],
) -> Vec<u8> {
    let body = Body {
        r#type: format!("/problems/{}", problem.code),
        title: problem.title,
        status: problem.status,
        detail,
        instance: subject.instance,
        code: problem.code,
        retryable: problem.retryable,
        request_id: subject.request_id,
        trace_id: subject.trace_id,
        errors,
    };
    // Strings and numbers always have a JSON form.
    serde_json::to_vec(&body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_problem_names_its_type_and_lists_errors_only_when_there_are_any() {
        let busy = ProblemType {
            code: "busy",
            status: 503,
            title: "Too much to do",
            retryable: true,
        };
        let subject = Subject {
            instance: "/v1/x",
            request_id: "r",
            trace_id: "t",
        };
        let told = |errors: &[Value]| -> Value {
            serde_json::from_slice(&problem_json(busy, "later", subject, errors)).unwrap()
        };
        let mut expected = json!({
            "type": "/problems/busy", "title": "Too much to do", "status": 503, "detail": "later",
            "instance": "/v1/x", "code": "busy", "retryable": true, "request_id": "r",
            "trace_id": "t",
        });
        assert_eq!(told(&[]), expected);
        expected["errors"] = json!([{ "pointer": "/a" }]);
        assert_eq!(told(&[json!({ "pointer": "/a" })]), expected);
    }
}
