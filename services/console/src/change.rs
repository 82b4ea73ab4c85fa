//! `PATCH /v1/pools/{pool}`: an operator pauses or pins a pool, or changes its bounds.

use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};
use tidepool_core::order::{ChangeError, PoolChange, order_duration};

use crate::Shared;
use crate::fleet::{document, find};
use crate::problem::{Code, Fault, Problem};

/// Largest body in bytes.
const BODY_BYTES_MAX: usize = 4_096;
/// Longest name of an operator, in characters.
const NAME_LEN_MAX: usize = 40;
/// Advice to a caller whose order could not be kept, in seconds.
const RETRY_AFTER_S: u32 = 2;

const MEMBERS: &str = "min, max, paused, pin, for and reason";

/// Makes the change; the answer is the pool as it is now.
pub(crate) async fn change(
    request: HttpRequest,
    shared: web::Data<Shared>,
    name: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let pool = find(&request, &shared, &name)?.pool;
    let body = body(payload, BODY_BYTES_MAX, &request).await?;
    let mut change = read(&body, &request)?;
    change.by = author(&request);
    let changed = shared.fleet.change(&pool, change).await;
    changed.map_err(|error| refused(&error, &request))?;
    Ok(document(&find(&request, &shared, &name)?))
}

/// A whole body of bounded size.
pub(crate) async fn body(
    payload: web::Payload,
    bytes_max: usize,
    request: &HttpRequest,
) -> Result<Bytes, Problem> {
    match payload.to_bytes_limited(bytes_max).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => Err(Problem::new(Code::BadBody, error.to_string(), request)),
        Err(_too_large) => {
            let detail = format!("this route takes {bytes_max} bytes");
            Err(Problem::new(Code::TooLarge, detail, request))
        }
    }
}

pub(crate) fn refused(error: &ChangeError, request: &HttpRequest) -> Problem {
    let detail = error.to_string();
    match error {
        ChangeError::UnknownPool(_) => Problem::new(Code::UnknownPool, detail, request),
        ChangeError::Invalid { member, message } => invalid(member, message.clone(), request),
        ChangeError::Unavailable(_) => {
            Problem::new(Code::StoreUnavailable, detail, request).retry_after(RETRY_AFTER_S)
        }
    }
}

fn invalid(member: &str, message: String, request: &HttpRequest) -> Problem {
    let parameter = member.to_owned();
    Problem::invalid(Fault { parameter, message }, request)
}

/// Who asks: the user name of basic authentication, which a browser lets its user choose, or the
/// address. The token is one for all operators, so this is a courtesy, not a proof.
pub(crate) fn author(request: &HttpRequest) -> String {
    let header = request
        .headers()
        .get(actix_web::http::header::AUTHORIZATION);
    let basic = header
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|encoded| BASE64_STANDARD.decode(encoded).ok())
        .and_then(|pair| String::from_utf8(pair).ok());
    let user = basic.and_then(|pair| Some(pair.split_once(':')?.0.to_owned()));
    let is_name = |user: &String| !user.is_empty() && !user.chars().any(char::is_control);
    let address = || {
        let peer = request.peer_addr();
        peer.map_or_else(
            || "an operator".to_owned(),
            |peer| format!("an operator at {}", peer.ip()),
        )
    };
    user.filter(is_name)
        .map_or_else(address, |user| user.chars().take(NAME_LEN_MAX).collect())
}

/// Reads a change from JSON.
fn read(body: &[u8], request: &HttpRequest) -> Result<PoolChange, Problem> {
    let members: Map<String, Value> = serde_json::from_slice(body).map_err(|error| {
        let detail = format!("the body must be a JSON object with some of {MEMBERS}: {error}");
        Problem::new(Code::BadBody, detail, request)
    })?;
    let mut change = PoolChange::default();
    for (member, value) in &members {
        set(&mut change, member, value).map_err(|message| {
            let member: String = member.chars().take(40).collect();
            invalid(&member, message, request)
        })?;
    }
    Ok(change)
}

fn set(change: &mut PoolChange, member: &str, value: &Value) -> Result<(), String> {
    match member {
        "min" => change.min = Some(workers(value)?),
        "max" => change.max = Some(workers(value)?),
        "pin" => change.pin = Some(workers(value)?),
        "paused" => {
            let paused = value.as_bool();
            change.paused = Some(paused.ok_or("must be true or false")?);
        }
        "for" if value.is_null() => {}
        "for" => {
            let text = value.as_str();
            let text = text.ok_or("must be a text such as \"30m\", at most \"7d\"")?;
            change.duration = Some(order_duration(text)?);
        }
        "reason" if value.is_null() => {}
        "reason" => change.reason = Some(value.as_str().ok_or("must be a text")?.to_owned()),
        _ => return Err(format!("is not known here; there are {MEMBERS}")),
    }
    Ok(())
}

fn workers(value: &Value) -> Result<Option<u32>, String> {
    if value.is_null() {
        return Ok(None);
    }
    let n = value.as_u64().and_then(|n| u32::try_from(n).ok());
    n.map(Some)
        .ok_or_else(|| "must be a whole number of workers, or null to take it back".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn members_are_read_one_by_one() {
        let request = TestRequest::patch().to_http_request();
        let body = br#"{"min":2,"max":null,"paused":true,"for":"90s","reason":"deploy"}"#;
        let change = read(body, &request).unwrap();
        assert_eq!((change.min, change.max), (Some(Some(2)), Some(None)));
        assert_eq!(change.paused, Some(true));
        assert_eq!(change.duration, Some(Duration::from_secs(90)));
        assert_eq!(change.reason.as_deref(), Some("deploy"));
        for bad in [
            r#"{"min":-1}"#,
            r#"{"max":"8"}"#,
            r#"{"pin":1.5}"#,
            r#"{"pin":4294967296}"#,
            r#"{"paused":1}"#,
            r#"{"for":30}"#,
            r#"{"for":"soon"}"#,
            r#"{"pause":true}"#,
            "[]",
            "{",
        ] {
            assert!(read(bad.as_bytes(), &request).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_author_is_a_user_or_an_address() {
        let by = |header: &str| {
            let request = TestRequest::patch()
                .insert_header(("authorization", header))
                .peer_addr("10.1.2.3:99".parse().unwrap());
            author(&request.to_http_request())
        };
        assert_eq!(
            by(&format!("Basic {}", BASE64_STANDARD.encode("ann:x"))),
            "ann"
        );
        for anonymous in ["Bearer x", "Basic !", "Basic OngK"] {
            assert_eq!(by(anonymous), "an operator at 10.1.2.3");
        }
    }
}
