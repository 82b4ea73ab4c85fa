//! A server on a free port, with everything behind it in view.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer};
use prometheus::Registry;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;
use tidepool_console::{Console, Identity, OperatorToken, Setup};
use tidepool_core::status::FleetView;
use tidepool_core::{PoolName, Timestamp};
use tidepool_feed::{Feed, FeedConfig};
use tidepool_keda::Advisor;
use tidepool_store::EmbeddedStore;
use tokio::sync::watch;

use crate::fleet::FakeFleet;

/// Far longer than anything here takes; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running console.
pub(crate) struct TestServer {
    pub(crate) fleet: Arc<FakeFleet>,
    pub(crate) feed: Feed,
    pub(crate) drain: watch::Sender<bool>,
    pub(crate) client: Client,
    base: String,
    handle: ServerHandle,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(None, |config| config).await
    }

    pub(crate) async fn start_with(
        token: Option<&str>,
        adjust: impl FnOnce(FeedConfig) -> FeedConfig,
    ) -> Self {
        let store = EmbeddedStore::ephemeral().unwrap();
        let config = adjust(FeedConfig::new("/tidepool/test"));
        let feed = Feed::start(Arc::new(store), config).await.unwrap();
        let fleet = Arc::new(FakeFleet::default());
        let shown = Arc::clone(&fleet);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (drain, draining) = watch::channel(false);
        let console = Console::new(Setup {
            identity: Identity {
                version: "1.2.3".into(),
                commit: "abc".into(),
                role: "all".into(),
                leader: Some("local".into()),
                addresses: BTreeMap::from([("operator".to_owned(), address.clone())]),
                started: Instant::now(),
            },
            fleet: fleet.clone(),
            advisor: Advisor::new(
                Arc::new(move || shown.pools()),
                ["echo", "grammar", "memory"].map(|name| PoolName::new(name).unwrap()),
                Arc::new(|| Timestamp(1_700_000_000_000)),
            ),
            feed: feed.clone(),
            registry: Registry::new(),
            operator_token: token.map(OperatorToken::new),
            draining,
        })
        .unwrap();
        let server = HttpServer::new(move || App::new().configure(|c| console.configure(c)))
            .workers(1)
            .disable_signals()
            // As the program does: a client that went away is noticed at once.
            .h1_allow_half_closed(false)
            .listen(listener)
            .unwrap()
            .run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self {
            fleet,
            feed,
            drain,
            client: Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .build()
                .unwrap(),
            base: format!("http://{address}"),
            handle,
        }
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client
            .get(format!("{}{path}", self.base))
            .timeout(PATIENCE)
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client
            .post(format!("{}{path}", self.base))
            .timeout(PATIENCE)
    }

    pub(crate) fn put(&self, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.client
            .put(format!("{}{path}", self.base))
            .body(body)
            .timeout(PATIENCE)
    }

    pub(crate) fn patch(&self, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.client
            .patch(format!("{}{path}", self.base))
            .body(body)
            .timeout(PATIENCE)
    }

    pub(crate) fn origin(&self) -> &str {
        &self.base
    }

    /// The document at a path, which must be there.
    pub(crate) async fn document(&self, path: &str) -> Value {
        let response = self.get(path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    /// Ends the server and waits for the streams on it.
    pub(crate) async fn stop(self) {
        self.handle.stop(true).await;
    }
}

/// Asserts that an answer is a whole problem with this status and code, and gives its body.
pub(crate) async fn problem(response: Response, status: u16, code: &str) -> Value {
    assert_eq!(response.status(), status);
    let headers = response.headers().clone();
    assert_eq!(headers["content-type"], "application/problem+json");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["code"], code, "{body}");
    assert_eq!(body["status"], status);
    assert_eq!(body["type"], format!("/problems/{code}"));
    assert_eq!(
        body["request_id"],
        headers["x-request-id"].to_str().unwrap()
    );
    for text in ["title", "detail", "instance", "request_id", "trace_id"] {
        assert!(!body[text].as_str().unwrap().is_empty(), "{text}: {body}");
    }
    assert_eq!(body["retryable"], status == 503);
    assert_eq!(headers.contains_key("retry-after"), status == 503);
    body
}
