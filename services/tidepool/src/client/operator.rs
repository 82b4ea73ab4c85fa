//! Calls the operator API of a running process.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::ACCEPT;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;
use tidepool_core::status::Referral;

use super::address::{AddressError, base_url};
use super::referral::{Astray, referred_to};
use crate::exit::complain;
use crate::settings::{Secret, Settings};
use crate::terminal::harmless;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for a whole answer that ends.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Where a process that cannot answer says that another one can.
const OPERATOR_ADDR: &str = "tidepool-operator-addr";
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why a call gave no answer to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The address cannot be called.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// There is nobody.
    #[error("nothing listens on {0}: is tidepool running? start it with `tidepool`")]
    NobodyThere(String),
    /// The connection failed or broke.
    #[error("{address} does not answer: {cause}")]
    Unreachable {
        /// Who was called.
        address: String,
        /// What happened.
        cause: String,
    },
    /// The token is missing or wrong.
    #[error(
        "{address} wants the operator token{refused}: set TIDEPOOL_HTTP__OPERATOR_TOKEN or \
         http.operator_token_file"
    )]
    Unauthorized {
        /// Who was called.
        address: String,
        /// What it said of the token that was sent, if one was.
        refused: &'static str,
    },
    /// It answered with a problem.
    #[error("{detail} (HTTP {status})")]
    Problem {
        /// Its status.
        status: StatusCode,
        /// What it said.
        detail: String,
    },
    /// Another process can answer.
    #[error("{}", referral.detail)]
    Referred {
        /// Whom it named.
        referral: Referral,
    },
    /// Another process can answer, and cannot be asked.
    #[error(transparent)]
    Astray(#[from] Astray),
    /// It answered with something else.
    #[error("{address} answers, but not as tidepool does: is that its operator address?")]
    Foreign {
        /// Who was called.
        address: String,
    },
}

impl CallError {
    /// Whether trying again later may help.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::NobodyThere(_) | Self::Unreachable { .. } => true,
            Self::Problem { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            // Another may lead by then.
            Self::Referred { .. } | Self::Astray(_) => true,
            Self::Address(_) | Self::Unauthorized { .. } | Self::Foreign { .. } => false,
        }
    }
}

/// The operator API of one process, or of the one that it refers to.
pub(crate) struct Operator {
    http: reqwest::Client,
    base: Url,
    /// Whom the first one named. Set once: nobody is led in circles.
    referred_to: OnceLock<Url>,
    token: Option<Secret>,
}

impl Operator {
    /// The process that the command line or else the configuration names.
    ///
    /// # Errors
    /// When the address cannot be called.
    pub(crate) fn new(address: Option<&str>, settings: &Settings) -> Result<Self, CallError> {
        let base = base_url(address, settings.http.operator_addr)?;
        // Operators are called directly: a proxy of the environment is meant for the internet.
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(|error| CallError::Unreachable {
                address: base.to_string(),
                cause: chain(&error),
            })?;
        Ok(Self {
            http,
            base,
            referred_to: OnceLock::new(),
            token: settings.http.operator_token.clone(),
        })
    }

    /// Gets a document.
    ///
    /// # Errors
    /// When there is no answer, or another one than a document.
    pub(crate) async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Value, CallError> {
        self.document(|| self.request(Method::GET, path).query(query))
            .await
    }

    /// Gives an order.
    ///
    /// # Errors
    /// When there is no answer, or the order is refused.
    pub(crate) async fn post(&self, path: &[&str]) -> Result<Value, CallError> {
        self.document(|| self.request(Method::POST, path)).await
    }

    /// Takes an order back.
    ///
    /// # Errors
    /// When there is no answer, or it is refused.
    pub(crate) async fn delete(&self, path: &[&str]) -> Result<Value, CallError> {
        self.document(|| self.request(Method::DELETE, path)).await
    }

    /// Changes something; the answer is what it became.
    ///
    /// # Errors
    /// When there is no answer, or the change is refused.
    pub(crate) async fn patch(&self, path: &[&str], body: &Value) -> Result<Value, CallError> {
        self.document(|| self.request(Method::PATCH, path).json(body))
            .await
    }

    /// Replaces something; the answer is what it became.
    ///
    /// # Errors
    /// When there is no answer, or what was sent is refused.
    pub(crate) async fn put(&self, path: &[&str], body: &Value) -> Result<Value, CallError> {
        self.document(|| self.request(Method::PUT, path).json(body))
            .await
    }

    /// Asks a question whose answer is a status.
    ///
    /// # Errors
    /// When there is no answer, or it is a refusal.
    pub(crate) async fn probe(&self, path: &str) -> Result<(), CallError> {
        let request = self.request(Method::GET, &[path]);
        self.attempt(request.timeout(ANSWER_TIMEOUT))
            .await
            .map(drop)
    }

    /// Opens a stream of server-sent events, which lasts.
    ///
    /// # Errors
    /// When there is no answer, or another one than a stream.
    pub(crate) async fn stream(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        last_event_id: Option<&str>,
    ) -> Result<Response, CallError> {
        let mut request = self.request(Method::GET, path).query(query);
        request = request.header(ACCEPT, "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        self.attempt(request).await
    }

    /// Asks another process from here on, the one that is named, if it has not been done before.
    ///
    /// # Errors
    /// When it was, nobody is named, or whoever is cannot be asked from here.
    pub(crate) fn follow(&self, referral: &Referral) -> Result<(), CallError> {
        let (from, detail) = (self.address(), harmless(&referral.detail));
        if self.referred_to.get().is_some() {
            return Err(Astray::InCircles { from, detail }.into());
        }
        let url = referred_to(&self.base, referral)?;
        // Whoever set it in between has been told the same.
        let _ = self.referred_to.set(url);
        let to = self.address();
        complain(&format!(
            "{from} cannot answer this; asking {to} ({detail})"
        ));
        Ok(())
    }

    /// What went wrong while a body was read.
    pub(crate) fn broken(&self, error: &reqwest::Error) -> CallError {
        let address = self.address();
        let is_refused = error.is_connect() && chain(error).contains("refused");
        // Whoever was referred to has been running, and is not started by the one who asks.
        if is_refused && self.referred_to.get().is_none() {
            CallError::NobodyThere(address)
        } else {
            let cause = if error.is_timeout() {
                "it took too long".to_owned()
            } else {
                chain(error)
            };
            CallError::Unreachable { address, cause }
        }
    }

    fn called(&self) -> &Url {
        self.referred_to.get().unwrap_or(&self.base)
    }

    fn address(&self) -> String {
        let called = self.called();
        let host = called.host_str().unwrap_or_default();
        let port = called.port_or_known_default().unwrap_or_default();
        format!("{host}:{port}")
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.called().clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    /// Sends a request, to whom the one that is called names if it cannot answer itself.
    async fn send(&self, request: impl Fn() -> RequestBuilder) -> Result<Response, CallError> {
        loop {
            match self.attempt(request().timeout(ANSWER_TIMEOUT)).await {
                // Fails the second time.
                Err(CallError::Referred { referral }) => self.follow(&referral)?,
                answered => return answered,
            }
        }
    }

    async fn attempt(&self, request: RequestBuilder) -> Result<Response, CallError> {
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        let status = response.status();
        if status.is_success() {
            Ok(response)
        } else if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let refused = if self.token.is_some() {
                " and refuses the one it got"
            } else {
                ""
            };
            Err(CallError::Unauthorized {
                address: self.address(),
                refused,
            })
        } else {
            let addr = response.headers().get(OPERATOR_ADDR);
            let addr = addr.and_then(|addr| addr.to_str().ok().map(str::to_owned));
            let body = self.body(response).await?;
            Err(self.problem(status, &body, addr))
        }
    }

    async fn document(&self, request: impl Fn() -> RequestBuilder) -> Result<Value, CallError> {
        let response = self.send(request).await?;
        let body = self.body(response).await?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|_| self.foreign())
    }

    /// Whoever answers, it is not a Tidepool that this program understands.
    pub(crate) fn foreign(&self) -> CallError {
        let address = self.address();
        CallError::Foreign { address }
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, CallError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.broken(&e))? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(self.foreign());
            }
        }
        Ok(body)
    }

    fn problem(&self, status: StatusCode, body: &[u8], addr: Option<String>) -> CallError {
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let said = ["detail", "title"]
            .iter()
            .find_map(|key| problem[key].as_str());
        let is_referral = matches!(problem["code"].as_str(), Some("not_leader" | "not_here"));
        match said {
            Some(detail) if is_referral => CallError::Referred {
                referral: Referral {
                    detail: harmless(detail),
                    operator_addr: addr,
                },
            },
            Some(detail) => CallError::Problem {
                status,
                detail: harmless(detail),
            },
            // A proxy in between may say so in its own words.
            None if status.is_server_error() => CallError::Problem {
                status,
                detail: format!("{} cannot answer now", self.address()),
            },
            None => self.foreign(),
        }
    }
}

/// An error with its causes, which `reqwest` keeps out of its own message.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    // Chains are short; the bound only keeps a cyclic one from hanging.
    for _ in 0..8 {
        let Some(inner) = cause else { break };
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    harmless(&text)
}
