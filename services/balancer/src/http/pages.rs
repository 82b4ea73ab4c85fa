//! Everything of the client API that is not a request: kinds, health, version, documentation.

use std::sync::Arc;
use std::time::Instant;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Handler, HttpServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, ACCEPT, AUTHORIZATION, LOCATION, RETRY_AFTER};
use actix_web::middleware::{Next, from_fn};
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse, Resource, web};
use serde_json::json;
use tidepool_core::problem::Subject;
use tidepool_handler::Idempotent;
use utoipa_swagger_ui::SwaggerUi;

use super::accepted::{Found, running_body};
use super::head::{Fields, Identity, reply_format};
use super::invoke::in_format;
use super::problem::{Code, Problem};
use super::{Api, auth};

/// All routes but the hot one.
pub(crate) fn scope(openapi: serde_json::Value) -> impl HttpServiceFactory {
    web::scope("")
        .wrap(from_fn(observe))
        .service(page("/", to_docs))
        .service(page("/docs", to_docs))
        .service(SwaggerUi::new("/docs/{_:.*}").external_url_unchecked("/openapi.json", openapi))
        .service(page("/v1/kinds", kinds))
        .service(page("/v1/requests/{id}", accepted_request))
        .service(page("/livez", livez))
        .service(page("/readyz", readyz))
        .service(page("/healthz", readyz))
        .service(page("/version", version))
        .service(page("/problems/{code}", problem_page))
        .default_service(web::to(nothing_here))
}

/// A page to GET, or to HEAD as health checks do.
fn page<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args, Output = HttpResponse> + Clone,
    Args: FromRequest + 'static,
{
    web::resource(path)
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
        .default_service(web::to(wrong_method))
}

async fn to_docs() -> HttpResponse {
    HttpResponse::TemporaryRedirect()
        .insert_header((LOCATION, "/docs/"))
        .finish()
}

async fn livez() -> HttpResponse {
    HttpResponse::Ok().body("ok\n")
}

/// Times the request under its route's pattern, and adds its id.
async fn observe<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, actix_web::Error> {
    let begin = Instant::now();
    let api = request.app_data::<web::Data<Api>>().cloned();
    let identity = api
        .as_ref()
        .map(|api| Identity::read(&Fields::find(request.headers()), api.sampler));
    if let Some(identity) = &identity {
        request.extensions_mut().insert(identity.clone());
    }
    let method = request.method().clone();
    let mut response = next.call(request).await?;
    if let (Some(api), Some(identity)) = (api, identity) {
        let route = response
            .request()
            .match_pattern()
            .unwrap_or_else(|| "none".to_owned());
        let status = response.status();
        let histogram = api.metrics.http(method.as_str(), &route, status.as_str());
        histogram.observe(begin.elapsed().as_secs_f64());
        if let Ok(id) = header::HeaderValue::try_from(identity.echoed_id()) {
            response
                .headers_mut()
                .insert(header::HeaderName::from_static("x-request-id"), id);
        }
    }
    Ok(response.map_into_left_body())
}

fn tell(problem: &Problem, request: &HttpRequest) -> HttpResponse {
    let identity = request.extensions().get::<Identity>().cloned();
    let (request_id, trace_id) = identity
        .map(|i| (i.echoed_id(), i.trace.trace_id.to_string()))
        .unwrap_or_default();
    problem.response(Subject {
        instance: request.path(),
        request_id: &request_id,
        trace_id: &trace_id,
    })
}

async fn nothing_here(request: HttpRequest) -> HttpResponse {
    tell(
        &Problem::new(Code::NotFound, "no route has this path"),
        &request,
    )
}

async fn wrong_method(request: HttpRequest) -> HttpResponse {
    let problem = Problem::new(Code::MethodNotAllowed, "this route is read with GET");
    tell(
        &Problem {
            allow: Some("GET, HEAD"),
            ..problem
        },
        &request,
    )
}

async fn kinds(request: HttpRequest, api: web::Data<Api>) -> HttpResponse {
    let authorization = request.headers().get(AUTHORIZATION);
    if let Err(problem) = auth::check(authorization, api.token.as_deref()) {
        return tell(&problem, &request);
    }
    let kinds: Vec<_> = api
        .kinds
        .iter()
        .map(|route| {
            let (spec, pool) = (&route.spec, &route.pool.spec);
            json!({
                "kind": spec.kind, "summary": spec.summary, "pool": pool.name,
                "idempotent": spec.idempotent == Idempotent::Always,
                "limits": {
                    "body_bytes": api.body_limits.bytes_max, "deadline_ms": pool.deadline_ms,
                    "queue_len": pool.queue_len_max, "slots": pool.slots, "kind": spec.limits,
                },
                "input_schema": spec.input_schema, "output_schema": spec.output_schema,
                "example": spec.example,
            })
        })
        .collect();
    HttpResponse::Ok().json(json!({"kinds": kinds, "unconfigured": api.unconfigured}))
}

/// What has become of a request that was accepted to be answered later.
async fn accepted_request(
    request: HttpRequest,
    api: web::Data<Api>,
    id: web::Path<String>,
) -> HttpResponse {
    let authorization = request.headers().get(AUTHORIZATION);
    if let Err(problem) = auth::check(authorization, api.token.as_deref()) {
        return tell(&problem, &request);
    }
    let Some(accepted) = &api.accepted else {
        return nothing_here(request).await;
    };
    let found = match accepted.find(&id).await {
        Ok(Found::Ended(Ok(kept))) => {
            let accept = request.headers().get(ACCEPT);
            reply_format(accept, kept.format).and_then(|format| in_format(kept, format))
        }
        Ok(Found::Ended(Err(problem))) | Err(problem) => Err(problem),
        Ok(Found::Running { kind, accepted_ms }) => {
            let body = running_body(&id, &kind, accepted_ms);
            return HttpResponse::Accepted()
                .insert_header((RETRY_AFTER, 1))
                .content_type(body.format.media_type())
                .body(body.bytes);
        }
    };
    match found {
        Ok(answer) => HttpResponse::Ok()
            .content_type(answer.format.media_type())
            .body(answer.bytes),
        Err(problem) => tell(&problem, &request),
    }
}

/// Ready when requests are let in and at least one pool has a worker.
async fn readyz(api: web::Data<Api>) -> HttpResponse {
    if api.is_draining() {
        return HttpResponse::ServiceUnavailable().body("draining\n");
    }
    let without_workers = |route: &&Arc<super::KindRoute>| {
        route.pool.ready_slots() == 0 && route.pool.busy_slots() == 0
    };
    if !api.kinds.is_empty() && api.kinds.iter().filter(without_workers).count() == api.kinds.len()
    {
        return HttpResponse::ServiceUnavailable().body("no worker is ready\n");
    }
    HttpResponse::Ok().body("ok\n")
}

async fn version(api: web::Data<Api>) -> HttpResponse {
    HttpResponse::Ok().json(json!({"version": api.version, "commit": api.commit}))
}

/// The page behind the `type` of a problem.
async fn problem_page(request: HttpRequest, code: web::Path<String>) -> HttpResponse {
    match Code::from_name(&code) {
        Some(code) => HttpResponse::Ok()
            .content_type("text/plain; charset=utf-8")
            .body(format!(
                "{} {}: {}\n\n{}\n\nThe same request may succeed later: {}\n",
                code.status(),
                code.as_str(),
                code.title(),
                code.advice(),
                if code.retryable() { "yes" } else { "no" },
            )),
        None => nothing_here(request).await,
    }
}
