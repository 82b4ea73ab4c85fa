//! The console for people: one page, its style and its script, all in the binary.

use actix_web::HttpResponse;
use actix_web::http::header;

/// Nothing from elsewhere, nothing inline, no framing.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

fn part(content_type: &'static str, body: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(content_type)
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(body)
}

pub(crate) async fn index() -> HttpResponse {
    part("text/html; charset=utf-8", include_str!("page/index.html"))
}

pub(crate) async fn style() -> HttpResponse {
    part("text/css; charset=utf-8", include_str!("page/console.css"))
}

pub(crate) async fn script() -> HttpResponse {
    part(
        "text/javascript; charset=utf-8",
        include_str!("page/console.js"),
    )
}

pub(crate) async fn icon() -> HttpResponse {
    part("image/svg+xml", include_str!("page/console.svg"))
}
