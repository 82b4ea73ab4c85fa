//! Errors as callers see them: RFC 9457 problems with a stable code.

use std::fmt;

use actix_web::body::BoxBody;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::http::{StatusCode, header};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, ResponseError};
use serde::Serialize;
use tidepool_core::problem::{PROBLEM_JSON, ProblemType, Subject, problem_json};

use crate::access::RequestIdentity;

/// Where the process that the detail names takes orders, as `HOST:PORT`, for programs that follow.
const OPERATOR_ADDR: HeaderName = HeaderName::from_static("tidepool-operator-addr");

/// A kind of problem.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Code {
    BadQuery,
    BadBody,
    TooLarge,
    Invalid,
    Unauthorized,
    ForeignOrigin,
    NotFound,
    UnknownPool,
    UnknownWorker,
    UnknownNode,
    NotHere,
    NotLeader,
    MethodNotAllowed,
    TooManyStreams,
    NodeBusy,
    Draining,
    NotReady,
    NoNumber,
    StoreUnavailable,
    Internal,
}

impl Code {
    pub(crate) const ALL: [Self; 20] = [
        Self::BadQuery,
        Self::BadBody,
        Self::TooLarge,
        Self::Invalid,
        Self::Unauthorized,
        Self::ForeignOrigin,
        Self::NotFound,
        Self::UnknownPool,
        Self::UnknownWorker,
        Self::UnknownNode,
        Self::NotHere,
        Self::NotLeader,
        Self::MethodNotAllowed,
        Self::TooManyStreams,
        Self::NodeBusy,
        Self::Draining,
        Self::NotReady,
        Self::NoNumber,
        Self::StoreUnavailable,
        Self::Internal,
    ];

    /// Name, status and title.
    fn facts(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::BadQuery => ("bad_query", 400, "A parameter cannot be understood"),
            Self::BadBody => ("bad_body", 400, "The body cannot be read"),
            Self::TooLarge => ("too_large", 413, "The body is too large"),
            Self::Invalid => ("invalid", 422, "This cannot be"),
            Self::Unauthorized => ("unauthorized", 401, "The operator token is needed"),
            Self::ForeignOrigin => ("foreign_origin", 403, "Another site may not give orders"),
            Self::NotFound => ("not_found", 404, "There is nothing here"),
            Self::UnknownPool => ("unknown_pool", 404, "There is no such pool"),
            Self::UnknownWorker => ("unknown_worker", 404, "There is no such worker"),
            Self::UnknownNode => ("unknown_node", 404, "There is no such node"),
            Self::NotHere => ("not_here", 421, "Another process takes this order"),
            Self::NotLeader => ("not_leader", 503, "This process does not lead"),
            Self::MethodNotAllowed => (
                "method_not_allowed",
                405,
                "This method is not for this route",
            ),
            Self::TooManyStreams => ("too_many_streams", 503, "Too many event streams are open"),
            Self::NodeBusy => ("node_busy", 503, "The node cannot take the order now"),
            Self::Draining => ("draining", 503, "This process is going away"),
            Self::NotReady => ("not_ready", 503, "This process is not ready yet"),
            Self::NoNumber => ("no_number", 503, "There is no number to scale by"),
            Self::StoreUnavailable => ("store_unavailable", 503, "The store does not answer"),
            Self::Internal => ("internal", 500, "Something is wrong with this program"),
        }
    }

    /// What to do about it.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::BadQuery => "Correct the parameter that errors[] names, or leave it out.",
            Self::BadBody => "Send the JSON that /docs describes for this route.",
            Self::TooLarge => "Send less; /docs says what the route takes.",
            Self::Invalid => "Correct the member that errors[] names.",
            Self::Unauthorized => {
                "Send it as 'Authorization: Bearer <token>'. A browser asks for a user and a \
                 password: the password is the token."
            }
            Self::ForeignOrigin => "Give the order from the console itself, or from a program.",
            Self::NotFound => "See /docs for the routes there are.",
            Self::UnknownPool => "GET /v1/pools lists the pools there are.",
            Self::UnknownWorker => "GET /v1/workers lists the workers there are.",
            Self::UnknownNode => "GET /v1/nodes lists the nodes there are.",
            Self::NotHere => "Give the order to the process that the detail names.",
            Self::NotLeader => {
                "Ask the process that the detail names, or again after Retry-After seconds."
            }
            Self::MethodNotAllowed => "Use one of the methods in the Allow header.",
            Self::TooManyStreams => "Close one, or try again after Retry-After seconds.",
            Self::NodeBusy => "Try again after Retry-After seconds.",
            Self::Draining => "Try again after Retry-After seconds; another process will answer.",
            Self::NotReady => {
                "Try again after Retry-After seconds; the detail names what is missing."
            }
            Self::NoNumber => {
                "Scale by what you would without Tidepool, and try again after Retry-After seconds."
            }
            Self::StoreUnavailable => "GET /v1/status tells what is wrong with the store.",
            Self::Internal => "Report the request id; the log has the cause.",
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        self.facts().0
    }

    pub(crate) fn status(self) -> StatusCode {
        StatusCode::from_u16(self.facts().1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(crate) fn title(self) -> &'static str {
        self.facts().2
    }

    /// Whether the same request may succeed later.
    pub(crate) fn is_retryable(self) -> bool {
        self.status() == StatusCode::SERVICE_UNAVAILABLE
    }
}

/// What is wrong with one parameter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Fault {
    pub(crate) parameter: String,
    pub(crate) message: String,
}

/// A problem that can be returned with `?`. Boxed, because it is rare and large.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Told>);

#[derive(Clone, Debug)]
struct Told {
    code: Code,
    detail: String,
    faults: Vec<Fault>,
    retry_after_s: Option<u32>,
    allow: Option<&'static str>,
    /// Where to ask instead.
    operator_addr: Option<String>,
    /// Whom it is told to, once known.
    asker: Asker,
}

#[derive(Clone, Debug, Default)]
struct Asker {
    instance: String,
    request_id: String,
    trace_id: String,
    /// A browser, which can ask its user for a password.
    is_browser: bool,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>, request: &HttpRequest) -> Self {
        let identity = request.extensions().get::<RequestIdentity>().cloned();
        let (request_id, trace_id) = identity
            .map(|known| (known.request_id, known.trace_id))
            .unwrap_or_default();
        let accept = request.headers().get(header::ACCEPT);
        let is_browser = accept
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.contains("text/html"));
        Self(Box::new(Told {
            code,
            detail: detail.into(),
            faults: Vec::new(),
            retry_after_s: None,
            allow: None,
            operator_addr: None,
            asker: Asker {
                instance: request.path().to_owned(),
                request_id,
                trace_id,
                is_browser,
            },
        }))
    }

    /// A parameter that cannot be understood.
    pub(crate) fn bad_query(fault: Fault, request: &HttpRequest) -> Self {
        let detail = format!("{}: {}", fault.parameter, fault.message);
        let mut problem = Self::new(Code::BadQuery, detail, request);
        problem.0.faults.push(fault);
        problem
    }

    /// A member of the body that cannot be.
    pub(crate) fn invalid(fault: Fault, request: &HttpRequest) -> Self {
        let detail = format!("{}: {}", fault.parameter, fault.message);
        let mut problem = Self::new(Code::Invalid, detail, request);
        problem.0.faults.push(fault);
        problem
    }

    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    /// Another process can answer, and takes orders there.
    pub(crate) fn refer_to(mut self, operator_addr: Option<String>) -> Self {
        self.0.operator_addr = operator_addr;
        self
    }

    pub(crate) fn allow(mut self, methods: &'static str) -> Self {
        self.0.allow = Some(methods);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code.as_str(), self.0.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.0.code.status()
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let told = &*self.0;
        let kind = ProblemType {
            code: told.code.as_str(),
            status: told.code.status().as_u16(),
            title: told.code.title(),
            retryable: told.code.is_retryable(),
        };
        let subject = Subject {
            instance: &told.asker.instance,
            request_id: &told.asker.request_id,
            trace_id: &told.asker.trace_id,
        };
        let mut response = HttpResponse::build(told.code.status());
        response
            .content_type(PROBLEM_JSON)
            .insert_header((header::CACHE_CONTROL, "no-store"));
        if let Some(seconds) = told.retry_after_s {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if let Some(methods) = told.allow {
            response.insert_header((header::ALLOW, methods));
        }
        let referred = told.operator_addr.as_deref();
        if let Some(Ok(addr)) = referred.map(HeaderValue::from_str) {
            response.insert_header((OPERATOR_ADDR, addr));
        }
        if told.code == Code::Unauthorized {
            response.append_header((header::WWW_AUTHENTICATE, "Bearer realm=\"tidepool\""));
            if told.asker.is_browser {
                response.append_header((header::WWW_AUTHENTICATE, "Basic realm=\"tidepool\""));
            }
        }
        response.body(problem_json(kind, &told.detail, subject, &told.faults))
    }
}
