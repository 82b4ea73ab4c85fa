//! The OpenAPI document, built from the kinds that are served.

use serde_json::{Map, Value, json};
use tidepool_handler::KindSpec;

use super::problem::Code;

/// OpenAPI 3.1, whose schemas are JSON Schema, so those of the kinds stand in it as they are.
pub(crate) fn document(kinds: &[&KindSpec], version: &str, needs_token: bool) -> Value {
    let mut paths = Map::new();
    for spec in kinds {
        paths.insert(
            format!("/v1/invoke/{}", spec.kind),
            json!({"post": invoke(spec)}),
        );
    }
    for (path, summary, tag) in [
        (
            "/v1/kinds",
            "The kinds with their pools, limits and schemas",
            "kinds",
        ),
        ("/livez", "Whether the process lives", "health"),
        ("/readyz", "Whether it takes requests", "health"),
        ("/healthz", "The same as /readyz", "health"),
        ("/version", "What runs", "health"),
    ] {
        let answer = json!({"200": {"description": "As asked"}});
        let get = json!({"summary": summary, "tags": [tag], "responses": answer});
        paths.insert(path.to_owned(), json!({"get": get}));
    }
    paths.insert(
        "/v1/requests/{id}".to_owned(),
        json!({"get": accepted_request()}),
    );
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidepool", "version": version,
            "description": "Requests by kind, answered by pools of workers that scale themselves. \
                Every error is application/problem+json with a stable code.",
        },
        "paths": paths,
        "components": {"schemas": {"Problem": problem_schema()}},
    });
    if needs_token {
        document["components"]["securitySchemes"] =
            json!({"token": {"type": "http", "scheme": "bearer"}});
        document["security"] = json!([{"token": []}]);
    }
    document
}

fn invoke(spec: &KindSpec) -> Value {
    let body = |schema: &Value| {
        json!({
            "application/json": {"schema": schema},
            "application/msgpack": {"schema": schema},
        })
    };
    let mut input = body(&spec.input_schema);
    input["application/json"]["example"] = spec.example.clone();
    let header = |name: &str, schema: Value, description: &str| json!({"name": name, "in": "header", "schema": schema, "description": description});
    let text = || json!({"type": "string"});
    let mut responses = json!({
        "200": {
            "description": "The answer",
            "content": body(&spec.output_schema),
            "headers": {
                "X-Request-Id": {"schema": text()},
                "traceresponse": {"schema": text()},
                "Tidepool-Worker": {"schema": text()},
                "Server-Timing": {"schema": text()},
                "RateLimit": {"schema": text()},
                "RateLimit-Policy": {"schema": text()},
            },
        },
        "202": {
            "description": "Accepted, as Prefer: respond-async asked for",
            "content": {"application/json": {"schema": running_schema()}},
            "headers": {"Location": {"schema": text()}, "Preference-Applied": {"schema": text()}},
        },
    });
    let for_accepted = [Code::UnknownRequest, Code::Interrupted];
    add_problems(
        &mut responses,
        Code::ALL.iter().filter(|code| !for_accepted.contains(code)),
    );

    json!({
        "summary": spec.summary,
        "tags": ["invoke"],
        "operationId": format!("invoke_{}", spec.kind),
        "parameters": [
            header("Tidepool-Deadline-Ms", json!({"type": "integer", "minimum": 1, "maximum": 600_000}),
                "How long the answer is worth waiting for"),
            header("Priority", json!({"type": "string", "example": "u=3"}),
                "RFC 9218: u=0 is the most urgent, u=7 the least"),
            header("Tidepool-Session", text(), "Requests of one session prefer one worker"),
            header("Idempotency-Key", text(), "The same key gets the same answer, once run"),
            header("Prefer", json!({"type": "string", "example": "respond-async"}),
                "RFC 7240: with respond-async the answer is asked for later, at Location"),
            header("traceparent", text(), "W3C Trace Context"),
            header("X-Request-Id", text(), "Echoed in the answer"),
        ],
        "requestBody": {"required": true, "content": input},
        "responses": responses,
    })
}

/// What has become of a request that was accepted.
fn accepted_request() -> Value {
    let mut responses = json!({
        "200": {"description": "The answer, as it would have been given at once"},
        "202": {
            "description": "It has not ended: ask again after Retry-After seconds",
            "content": {"application/json": {"schema": running_schema()}},
        },
    });
    add_problems(&mut responses, Code::ALL.iter());
    json!({
        "summary": "The answer of an accepted request, once it is there and for an hour after",
        "tags": ["invoke"],
        "operationId": "accepted_request",
        "parameters": [
            {"name": "id", "in": "path", "required": true, "schema": {"type": "string"}},
        ],
        "responses": responses,
    })
}

fn running_schema() -> Value {
    let text = || json!({"type": "string"});
    json!({
        "type": "object",
        "required": ["id", "state", "kind", "accepted_at"],
        "properties": {
            "id": text(), "state": {"const": "running"}, "kind": text(), "accepted_at": text(),
        },
    })
}

/// Describes problems under their statuses.
fn add_problems<'a>(responses: &mut Value, codes: impl Iterator<Item = &'a Code>) {
    for code in codes {
        let status = code.status().to_string();
        let line = format!("`{}`: {}. {}", code.as_str(), code.title(), code.advice());
        let described = responses[&status]["description"]
            .as_str()
            .map_or_else(|| line.clone(), |before| format!("{before}\n\n{line}"));
        responses[&status] = json!({
            "description": described,
            "content": {"application/problem+json": {
                "schema": {"$ref": "#/components/schemas/Problem"},
            }},
        });
    }
}

fn problem_schema() -> Value {
    let text = || json!({"type": "string"});
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "code", "retryable", "request_id", "trace_id"],
        "properties": {
            "type": text(), "title": text(), "status": {"type": "integer"}, "detail": text(),
            "instance": text(),
            "code": {"enum": Code::ALL.iter().map(|code| code.as_str()).collect::<Vec<_>>()},
            "retryable": {"type": "boolean"}, "request_id": text(), "trace_id": text(),
            "errors": {"type": "array", "items": {
                "type": "object",
                "properties": {"pointer": text(), "message": text()},
            }},
        },
    })
}
