//! What machines ask: is it alive, is it ready, which version, what are the numbers.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use prometheus::TextEncoder;
use serde_json::json;

use crate::Shared;
use crate::fleet::components;
use crate::problem::{Code, Problem};

/// Advice to a caller while this process goes away, in seconds.
const RETRY_AFTER_S: u32 = 2;

/// Alive as long as it answers; says nothing of what it depends on.
pub(crate) async fn livez() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(json!({"status": "alive"}))
}

/// Ready unless it is going away, or has not done yet what it starts with. A part that fails makes it degraded, not unready: requests that
/// do not need the part are served as before. `?verbose` lists the parts, `?exclude=` leaves one
/// out (may be repeated).
pub(crate) async fn readyz(
    request: HttpRequest,
    shared: web::Data<Shared>,
    parameters: web::Query<Vec<(String, String)>>,
) -> Result<HttpResponse, Problem> {
    if shared.is_draining() {
        let problem = Problem::new(Code::Draining, "what runs is being finished", &request);
        return Err(problem.retry_after(RETRY_AFTER_S));
    }
    if let Some(missing) = shared.fleet.unready() {
        let problem = Problem::new(Code::NotReady, missing, &request);
        return Err(problem.retry_after(RETRY_AFTER_S));
    }
    let is_excluded = |component: &str| {
        let mut excluded = parameters.iter().filter(|(name, _)| name == "exclude");
        excluded.any(|(_, value)| value == component)
    };
    let mut parts = components(&shared);
    parts.retain(|part| !is_excluded(&part.component));
    let is_fine = parts
        .iter()
        .all(|part| matches!(&*part.state, "ok" | "off"));
    let mut body = json!({"status": if is_fine { "ready" } else { "degraded" }});
    if parameters.iter().any(|(name, _)| name == "verbose") {
        body["components"] = json!(parts);
    }
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(body))
}

pub(crate) async fn version(shared: web::Data<Shared>) -> HttpResponse {
    let identity = &shared.identity;
    HttpResponse::Ok().json(json!({"version": identity.version, "commit": identity.commit}))
}

pub(crate) async fn metrics(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let subscribers = i64::try_from(shared.feed.subscribers()).unwrap_or(i64::MAX);
    shared.subscribers.set(subscribers);
    show_components(&shared);
    let text = TextEncoder::new().encode_to_string(&shared.registry.gather());
    let text = text.map_err(|error| {
        tracing::error!(%error, "the metrics cannot be written down");
        Problem::new(
            Code::Internal,
            "the metrics cannot be written down",
            &request,
        )
    })?;
    Ok(HttpResponse::Ok()
        .content_type(prometheus::TEXT_FORMAT)
        .body(text))
}

/// A part that is degraded does its work; one that is off is nobody's concern.
fn show_components(shared: &Shared) {
    shared.components_up.reset();
    for part in components(shared) {
        if part.state != "off" {
            let is_up = part.state != "down";
            let series = shared.components_up.with_label_values(&[&*part.component]);
            series.set(i64::from(is_up));
        }
    }
}

pub(crate) async fn openapi(shared: web::Data<Shared>) -> HttpResponse {
    HttpResponse::Ok().json(&shared.openapi)
}

/// The page behind the `type` of a problem.
pub(crate) async fn problem_page(
    request: HttpRequest,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let code = Code::ALL.iter().find(|code| code.as_str() == *name);
    let code = code.ok_or_else(|| {
        Problem::new(Code::NotFound, "there is no such kind of problem", &request)
    })?;
    let again = if code.is_retryable() {
        "may"
    } else {
        "will not"
    };
    Ok(HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .body(format!(
            "{} {}: {}\n\n{}\n\nThe same request {again} succeed later.\n",
            code.status().as_u16(),
            code.as_str(),
            code.title(),
            code.advice(),
        )))
}
