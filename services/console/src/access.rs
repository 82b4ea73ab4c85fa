//! Who a request is and whether it may come in.

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest, ResponseError, web};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use subtle::ConstantTimeEq;
use tidepool_telemetry::remote_context;

use crate::Shared;
use crate::problem::{Code, Problem};

/// Longest `X-Request-Id` that is echoed, in bytes.
const REQUEST_ID_LEN_MAX: usize = 128;
/// Longest `Authorization` that is looked at, in bytes.
const AUTHORIZATION_LEN_MAX: usize = 4_096;
/// Probes must work without secrets.
const OPEN: [&str; 3] = ["/livez", "/readyz", "/healthz"];

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The secret of operators. Never printed; compared in constant time.
#[derive(Clone)]
pub struct OperatorToken(String);

impl OperatorToken {
    /// Wraps a token.
    #[must_use]
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// Whether an `Authorization` header carries the token: as a bearer token, or as the password
    /// of basic authentication, which is what a browser can ask its user for.
    fn opens(&self, authorization: &[u8]) -> bool {
        if authorization.len() > AUTHORIZATION_LEN_MAX {
            return false;
        }
        let after = |scheme: &str| {
            let (start, rest) = authorization.split_at_checked(scheme.len())?;
            start
                .eq_ignore_ascii_case(scheme.as_bytes())
                .then_some(rest)
        };
        let is_token = |given: &[u8]| bool::from(given.ct_eq(self.0.as_bytes()));
        if let Some(given) = after("bearer ") {
            return is_token(given);
        }
        let pair = after("basic ").and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
        pair.is_some_and(|pair| {
            let password = pair.iter().position(|byte| *byte == b':');
            password.is_some_and(|colon| is_token(&pair[colon + 1..]))
        })
    }
}

impl std::fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OperatorToken(..)")
    }
}

/// Names of a request, for problems and logs.
#[derive(Clone, Debug)]
pub(crate) struct RequestIdentity {
    pub(crate) request_id: String,
    pub(crate) trace_id: String,
}

impl RequestIdentity {
    /// The caller's own names when it sent any, else new ones.
    fn read(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let fresh = uuid::Uuid::now_v7();
        let callers_id = text("x-request-id")
            .filter(|id| (1..=REQUEST_ID_LEN_MAX).contains(&id.len()))
            .filter(|id| id.bytes().all(|byte| byte.is_ascii_graphic()));
        let remote = remote_context(text("traceparent"), text("uber-trace-id"));
        Self {
            request_id: callers_id.map_or_else(|| fresh.to_string(), str::to_owned),
            trace_id: remote.map_or_else(
                || fresh.simple().to_string(),
                |context| context.trace_id.to_string(),
            ),
        }
    }
}

/// Around every request: names it, checks who asks, and adds what every answer carries.
pub(crate) async fn admit<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, actix_web::Error> {
    let identity = RequestIdentity::read(request.headers());
    let request_id = HeaderValue::try_from(&identity.request_id);
    request.extensions_mut().insert(identity);
    let mut response = match refusal(request.request()) {
        Some(problem) => request
            .into_response(problem.error_response())
            .map_into_right_body(),
        None => next.call(request).await?.map_into_left_body(),
    };
    let headers = response.headers_mut();
    if let Ok(id) = request_id {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    Ok(response)
}

fn refusal(request: &HttpRequest) -> Option<Problem> {
    if is_foreign_order(request) {
        let detail = "the Origin header names another site than this one";
        return Some(Problem::new(Code::ForeignOrigin, detail, request));
    }
    let shared = request.app_data::<web::Data<Shared>>()?;
    let token = shared.operator_token.as_ref()?;
    if OPEN.contains(&request.path()) {
        return None;
    }
    let authorization = request.headers().get(header::AUTHORIZATION);
    match authorization {
        Some(given) if token.opens(given.as_bytes()) => None,
        Some(_) => Some("the token is not valid"),
        None => Some("no token was sent"),
    }
    .map(|detail| Problem::new(Code::Unauthorized, detail, request))
}

/// A page of another site makes a visitor's browser send an order: the browser says where from.
fn is_foreign_order(request: &HttpRequest) -> bool {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return false;
    }
    let text = |name: HeaderName| request.headers().get(name)?.to_str().ok();
    let Some(origin) = request.headers().get(header::ORIGIN) else {
        return false;
    };
    let origin_host = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"))
        .map(|(_, host)| host);
    origin_host.is_none() || origin_host != text(header::HOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn only_the_token_opens() {
        let token = OperatorToken::new("secret");
        let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
        for good in [
            "Bearer secret".to_owned(),
            "bearer secret".to_owned(),
            basic("anybody:secret"),
            basic(":secret"),
        ] {
            assert!(token.opens(good.as_bytes()), "{good}");
        }
        for bad in [
            String::new(),
            "Bearer".to_owned(),
            "Bearer secre".to_owned(),
            "Bearer secret ".to_owned(),
            "Token secret".to_owned(),
            "Basic secret".to_owned(),
            basic("secret"),
            basic("secret:"),
            format!("Bearer {}", "x".repeat(10_000)),
        ] {
            assert!(!token.opens(bad.as_bytes()), "{bad}");
        }
        assert!(!format!("{token:?}").contains("secret"));
    }

    #[test]
    fn orders_come_from_here_or_from_programs() {
        let order = |origin: Option<&str>| {
            let mut request = TestRequest::post().insert_header(("host", "127.0.0.1:8701"));
            if let Some(origin) = origin {
                request = request.insert_header(("origin", origin));
            }
            is_foreign_order(&request.to_http_request())
        };
        assert!(!order(None));
        assert!(!order(Some("http://127.0.0.1:8701")));
        for foreign in ["http://evil.example", "null", "http://127.0.0.1:9"] {
            assert!(order(Some(foreign)), "{foreign}");
        }
    }
}
