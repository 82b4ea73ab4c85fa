//! Every route of the operator API, in one place.

use actix_web::body::MessageBody;
use actix_web::dev::{HttpServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, HttpRequest, HttpResponse, Resource, guard, web};
use utoipa_swagger_ui::SwaggerUi;

use crate::problem::{Code, Problem};
use crate::{access, change, events, fleet, learned, page, probes};

/// All routes, behind the check of who asks.
pub(crate) fn all(openapi: serde_json::Value) -> impl HttpServiceFactory {
    let docs = SwaggerUi::new("/docs/{_:.*}").external_url_unchecked("/openapi.json", openapi);
    web::scope("")
        .wrap(from_fn(guard_docs))
        .wrap(from_fn(access::admit))
        .service(read("/", reading().to(page::index)))
        .service(read("/console.css", reading().to(page::style)))
        .service(read("/console.js", reading().to(page::script)))
        .service(read("/console.svg", reading().to(page::icon)))
        .service(read("/v1/status", reading().to(fleet::status)))
        .service(read("/v1/pools", reading().to(fleet::pools)))
        .service(
            read("/v1/pools/{pool}", reading().to(fleet::pool))
                .route(web::patch().to(change::change))
                .default_service(web::to(|request| wrong_method(request, "GET, HEAD, PATCH"))),
        )
        .service(read(
            "/v1/pools/{pool}/explain",
            reading().to(fleet::explain),
        ))
        .service(read("/v1/pools/{pool}/keda", reading().to(fleet::keda)))
        .service(
            read("/v1/pools/{pool}/pattern", reading().to(learned::pattern))
                .route(web::put().to(learned::import))
                .default_service(web::to(|request| wrong_method(request, "GET, HEAD, PUT"))),
        )
        .service(read(
            "/v1/pools/{pool}/forecast",
            reading().to(learned::forecast),
        ))
        .service(read("/v1/series", reading().to(learned::series)))
        .service(read("/v1/workers", reading().to(fleet::workers)))
        .service(order(
            "/v1/workers/{id}/drain",
            web::post().to(fleet::drain),
        ))
        .service(read("/v1/nodes", reading().to(fleet::nodes)))
        .service(
            order("/v1/nodes/{name}/drain", web::post().to(fleet::drain_node))
                .route(web::delete().to(fleet::undrain_node))
                .default_service(web::to(|request| wrong_method(request, "POST, DELETE"))),
        )
        .service(read("/v1/events", web::get().to(events::events)))
        .service(read("/metrics", reading().to(probes::metrics)))
        // Answers GET of the document as well; the route after it answers the other methods.
        .service(docs)
        .service(read("/openapi.json", reading().to(probes::openapi)))
        .service(read("/docs", reading().to(to_docs)))
        .service(read("/livez", reading().to(probes::livez)))
        .service(read("/readyz", reading().to(probes::readyz)))
        .service(read("/healthz", reading().to(probes::readyz)))
        .service(read("/version", reading().to(probes::version)))
        .service(read("/problems/{code}", reading().to(probes::problem_page)))
        .default_service(web::to(nothing_here))
}

fn reading() -> actix_web::Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

fn read(path: &str, route: actix_web::Route) -> Resource {
    web::resource(path)
        .route(route)
        .default_service(web::to(|request| wrong_method(request, "GET, HEAD")))
}

fn order(path: &str, route: actix_web::Route) -> Resource {
    web::resource(path)
        .route(route)
        .default_service(web::to(|request| wrong_method(request, "POST")))
}

async fn wrong_method(request: HttpRequest, allow: &'static str) -> Result<HttpResponse, Problem> {
    let detail = format!("this route takes {allow}");
    Err(Problem::new(Code::MethodNotAllowed, detail, &request).allow(allow))
}

async fn nothing_here(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(Problem::new(
        Code::NotFound,
        "no route has this path",
        &request,
    ))
}

async fn to_docs() -> HttpResponse {
    HttpResponse::TemporaryRedirect()
        .insert_header((header::LOCATION, "/docs/"))
        .finish()
}

/// The viewer of the documentation is made of files in the binary. It needs inline styles, but
/// nothing from elsewhere.
async fn guard_docs<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    const POLICY: HeaderValue = HeaderValue::from_static(
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
         base-uri 'none'; frame-ancestors 'none'",
    );
    let is_docs = request.path().starts_with("/docs/");
    let mut response = next.call(request).await?;
    if is_docs {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    }
    Ok(response)
}
