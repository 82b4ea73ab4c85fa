//! What was learned and what was: `/v1/pools/{pool}/pattern`, `/forecast` and `/v1/series`.

use std::time::SystemTime;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};
use tidepool_core::order::order_duration;
use tidepool_core::series::{SERIES, SeriesError, SeriesQuery};
use tidepool_core::{PoolName, Timestamp};

use crate::Shared;
use crate::fleet::{document, find, leading};
use crate::order::{Order, refused, take};
use crate::problem::{Fault, Problem};

/// Largest pattern in bytes; one that is exported has about 50,000.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Widest point of a series in seconds.
const STEP_S_MAX: u64 = 86_400;

const PARAMETERS: &str = "name, pool, since and step";

/// The learned week of a pool; its `document` can be imported.
pub(crate) async fn pattern(
    request: HttpRequest,
    shared: web::Data<Shared>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let pool = find(&request, &shared, &name)?.pool;
    let pattern = shared.fleet.pattern(&pool);
    Ok(document(&pattern.unwrap_or_else(|| nothing(&pool))))
}

/// The next 24 hours of a pool.
pub(crate) async fn forecast(
    request: HttpRequest,
    shared: web::Data<Shared>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let pool = find(&request, &shared, &name)?.pool;
    let forecast = shared.fleet.forecast(&pool);
    Ok(document(&forecast.unwrap_or_else(|| nothing(&pool))))
}

fn nothing(pool: &PoolName) -> Value {
    json!({ "pool": pool })
}

/// Replaces what was learned by an exported pattern.
pub(crate) async fn import(
    request: HttpRequest,
    shared: web::Data<Shared>,
    name: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let expected = "an exported pattern as JSON";
    let order = take(
        &request,
        &shared,
        &name,
        (payload, PATTERN_BYTES_MAX, expected),
    );
    let Order { pool, by, told } = order.await?;
    let imported = shared.fleet.import_pattern(&pool, told, by).await;
    imported.map_err(|error| refused(&error, &request))?;
    pattern(request, shared, name).await
}

/// Numbers over time; without a name, which there are.
pub(crate) async fn series(
    request: HttpRequest,
    shared: web::Data<Shared>,
    parameters: web::Query<Vec<(String, String)>>,
) -> Result<HttpResponse, Problem> {
    let now = Timestamp::from(SystemTime::now());
    let bad = |fault| Problem::bad_query(fault, &request);
    let Some(query) = read(&parameters, now).map_err(bad)? else {
        let names = SERIES.map(|(name, meaning)| json!({"name": name, "meaning": meaning}));
        return Ok(document(&json!({ "names": names })));
    };
    leading(&request, &shared)?;
    let answer = shared.fleet.series(&query).map_err(|error| {
        let parameter = match error {
            SeriesError::Unknown(_) => "name",
            SeriesError::TooMany { .. } => "step",
        };
        bad(fault(parameter, error.to_string()))
    })?;
    Ok(document(&answer))
}

fn read(parameters: &[(String, String)], now: Timestamp) -> Result<Option<SeriesQuery>, Fault> {
    let mut name = None;
    let (mut pool, mut since, mut step_s) = (None, None, None);
    for (key, value) in parameters {
        match key.as_str() {
            "name" => name = Some(value.chars().take(80).collect()),
            "pool" => {
                let read = PoolName::new(value);
                pool = Some(read.map_err(|error| fault(key, error.to_string()))?);
            }
            "since" => since = Some(moment(value, now).map_err(|told| fault(key, told))?),
            "step" => {
                let step = value.parse().ok();
                let step = step.or_else(|| Some(order_duration(value).ok()?.as_secs()));
                let step = step.filter(|step| (1..=STEP_S_MAX).contains(step));
                let told = || fault(key, "must be 1s to 24h, such as 60 or 5m".to_owned());
                step_s = Some(step.ok_or_else(told)?);
            }
            _ => {
                let key: String = key.chars().take(80).collect();
                let told = format!("is not known here; there are {PARAMETERS}");
                return Err(fault(&key, told));
            }
        }
    }
    Ok(name.map(|name| SeriesQuery {
        name,
        pool,
        since,
        step_s,
    }))
}

/// A moment as RFC 3339, or how long ago.
fn moment(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(ago) = order_duration(text) {
        let ago_ms = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        return Ok(Timestamp(now.0.saturating_sub(ago_ms)));
    }
    let wrong = || "must be a time such as 2026-11-20T20:00:00Z, or how long ago, as 2h".to_owned();
    Timestamp::read(text).ok_or_else(wrong)
}

fn fault(parameter: &str, message: String) -> Fault {
    Fault {
        parameter: parameter.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Result<Option<SeriesQuery>, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let pairs: Vec<_> = pairs.iter().map(owned).collect();
        read(&pairs, Timestamp(100_000_000)).map_err(|fault| fault.parameter)
    }

    #[test]
    fn times_are_absolute_or_ago_and_steps_have_units_or_not() {
        let read = query(&[("name", "need"), ("since", "1h"), ("step", "5m")]);
        let read = read.unwrap().unwrap();
        assert_eq!(read.since, Some(Timestamp(96_400_000)));
        assert_eq!(read.step_s, Some(300));
        let absolute = query(&[
            ("name", "need"),
            ("since", "1970-01-01T00:00:07Z"),
            ("step", "60"),
        ]);
        let absolute = absolute.unwrap().unwrap();
        assert_eq!(
            (absolute.since, absolute.step_s),
            (Some(Timestamp(7_000)), Some(60))
        );
        assert_eq!(query(&[]), Ok(None));
        for (name, value) in [
            ("since", "today"),
            ("step", "0"),
            ("pool", "No Pool"),
            ("x", "1"),
        ] {
            assert_eq!(query(&[(name, value)]), Err(name.to_owned()));
        }
    }
}
