//! `PATCH /v1/pools/{pool}`: an operator pauses or pins a pool, or changes its bounds.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value};
use tidepool_core::order::{PoolChange, order_duration};

use crate::Shared;
use crate::fleet::{document, find};
use crate::order::{Order, invalid, refused, take};
use crate::problem::Problem;

/// Largest body in bytes.
const BODY_BYTES_MAX: usize = 4_096;

const MEMBERS: &str = "min, max, paused, pin, for and reason";

/// Makes the change; the answer is the pool as it is now.
pub(crate) async fn change(
    request: HttpRequest,
    shared: web::Data<Shared>,
    name: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let expected = format!("a JSON object with some of {MEMBERS}");
    let order = take(
        &request,
        &shared,
        &name,
        (payload, BODY_BYTES_MAX, &expected),
    );
    let Order { pool, by, told } = order.await?;
    let change = PoolChange {
        by,
        ..read(&told, &request)?
    };
    let changed = shared.fleet.change(&pool, change).await;
    changed.map_err(|error| refused(&error, &request))?;
    Ok(document(&find(&request, &shared, &name)?))
}

/// Reads a change, member by member.
fn read(members: &Map<String, Value>, request: &HttpRequest) -> Result<PoolChange, Problem> {
    let mut change = PoolChange::default();
    for (member, value) in members {
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
        let read = |body: &str| read(&serde_json::from_str(body).unwrap(), &request);
        let body = r#"{"min":2,"max":null,"paused":true,"for":"90s","reason":"deploy"}"#;
        let change = read(body).unwrap();
        assert_eq!((change.min, change.max), (Some(Some(2)), Some(None)));
        assert_eq!(change.paused, Some(true));
        assert_eq!(change.duration, Some(Duration::from_secs(90)));
        assert_eq!(change.reason.as_deref(), Some("deploy"));
        let ended = r#"{"paused":false,"pin":null,"min":null,"for":null,"reason":null}"#;
        let taken_back = PoolChange {
            paused: Some(false),
            pin: Some(None),
            min: Some(None),
            ..PoolChange::default()
        };
        assert_eq!(read(ended).unwrap(), taken_back);
        for bad in [
            r#"{"min":-1}"#,
            r#"{"max":"8"}"#,
            r#"{"pin":1.5}"#,
            r#"{"pin":4294967296}"#,
            r#"{"paused":1}"#,
            r#"{"for":30}"#,
            r#"{"for":"soon"}"#,
            r#"{"pause":true}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
