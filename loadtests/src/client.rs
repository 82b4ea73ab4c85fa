//! One request over HTTP: kept connections, no retries, no redirects, nothing hidden.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Request, Response, Url};
use serde::Deserialize;

use crate::mix::Prepared;
use crate::outcome::Outcome;

/// How much of a problem is read for its code.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;
/// A connection that idled this long is not used again. Servers close idle ones after five
/// seconds or more, and a request that meets the closing would count as failed.
const IDLE: Duration = Duration::from_secs(2);

/// How a request ended, and the server's name for it.
pub(crate) struct Reply {
    pub(crate) outcome: Outcome,
    pub(crate) request_id: Option<HeaderValue>,
}

/// Posts bodies to the routes of a mix.
pub(crate) struct Client {
    http: reqwest::Client,
    routes: Vec<Url>,
    headers: HeaderMap,
}

/// Where requests go, and what goes with each.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) api: Url,
    pub(crate) token: Option<String>,
}

impl Target {
    /// The address of `path`, below any path of the API's own address.
    pub(crate) fn url(&self, path: &str) -> Url {
        below(&self.api, path)
    }
}

/// `base` with `path` after its own path.
pub(crate) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

/// A bearer token as a header that debug output does not show.
pub(crate) fn bearer(token: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| "the token has characters that a header cannot carry".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// A plain client for a few requests beside the load.
pub(crate) fn plain(timeout: Duration) -> Result<reqwest::Client, String> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(timeout)
        .build()
        .map_err(|e| e.to_string())
}

impl Client {
    /// A client of its own connections for requests to `kinds`.
    pub(crate) fn new(
        target: &Target,
        kinds: &[String],
        extra: &HeaderMap,
        timeout: Duration,
    ) -> Result<Self, String> {
        let mut headers = extra.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(token) = &target.token {
            headers.insert(AUTHORIZATION, bearer(token)?);
        }
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .tcp_nodelay(true)
            .pool_idle_timeout(IDLE)
            .timeout(timeout)
            .user_agent(concat!("tidepool-load/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| e.to_string())?;
        let route = |kind: &String| target.url(&format!("/v1/invoke/{kind}"));
        Ok(Self {
            http,
            routes: kinds.iter().map(route).collect(),
            headers,
        })
    }

    /// Sends one request and reads its whole answer.
    pub(crate) async fn send(&self, prepared: Prepared) -> Reply {
        let mut request = Request::new(Method::POST, self.routes[prepared.kind].clone());
        request.headers_mut().clone_from(&self.headers);
        *request.body_mut() = Some(prepared.body.into());
        match self.http.execute(request).await {
            Ok(response) => read(response).await,
            Err(error) => Reply::lost(&error),
        }
    }
}

impl Reply {
    fn lost(error: &reqwest::Error) -> Self {
        Self {
            outcome: Outcome::lost(reason(error)),
            request_id: None,
        }
    }
}

fn reason(error: &reqwest::Error) -> &'static str {
    match error {
        e if e.is_timeout() => "timeout",
        e if e.is_connect() => "connect",
        e if e.is_body() || e.is_decode() => "cut-off",
        _ => "connection",
    }
}

async fn read(mut response: Response) -> Reply {
    let status = response.status().as_u16();
    let request_id = response.headers().get("x-request-id").cloned();
    let is_ok = response.status().is_success();
    let mut problem = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if !is_ok => keep(&mut problem, &chunk),
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(error) => return Reply::lost(&error),
        }
    }
    Reply {
        outcome: Outcome::answered(status, code(&problem).as_deref()),
        request_id,
    }
}

fn keep(problem: &mut Vec<u8>, chunk: &Bytes) {
    let room = PROBLEM_BYTES_MAX.saturating_sub(problem.len());
    problem.extend_from_slice(&chunk[..chunk.len().min(room)]);
}

/// The `code` of a problem, if this is one.
fn code(problem: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Problem {
        code: String,
    }
    serde_json::from_slice::<Problem>(problem)
        .ok()
        .map(|p| p.code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_a_problem_is_found_and_anything_else_is_none() {
        assert_eq!(
            code(br#"{"status":503,"code":"overloaded"}"#).as_deref(),
            Some("overloaded")
        );
        for body in [&b""[..], b"<html>", br#"{"code":5}"#, b"\xff\xfe"] {
            assert_eq!(code(body), None);
        }
    }

    #[test]
    fn paths_go_below_the_path_of_the_address() {
        let target = |api: &str| Target {
            api: api.parse().unwrap(),
            token: None,
        };
        assert_eq!(
            target("http://a:1").url("/livez").as_str(),
            "http://a:1/livez"
        );
        assert_eq!(
            target("http://a:1/x/").url("/livez").as_str(),
            "http://a:1/x/livez"
        );
    }

    #[test]
    fn tokens_are_not_shown() {
        assert!(!format!("{:?}", bearer("s3cret").unwrap()).contains("s3cret"));
        assert!(bearer("new\nline").is_err());
    }
}
