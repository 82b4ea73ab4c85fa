//! The event feed over HTTP: batches, streams, resuming, limits and the end.

use reqwest::Response;
use serde_json::{Value, json};
use tidepool_console::EVENT_STREAMS_MAX;
use tidepool_core::{EventDraft, PoolName};
use tidepool_feed::FeedConfig;

use crate::server::{PATIENCE, TestServer, problem};

/// One open stream, read message by message.
struct Stream {
    response: Response,
    text: String,
}

impl Stream {
    async fn open(server: &TestServer, query: &str, last_event_id: Option<&str>) -> Self {
        let mut request = server
            .client
            .get(format!("{}/v1/events{query}", server.origin()))
            .header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let sent = tokio::time::timeout(PATIENCE, request.send()).await;
        let response = sent.expect("the head of the answer at once").unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-cache");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        let mut stream = Self {
            response,
            text: String::new(),
        };
        assert_eq!(stream.message().await.as_deref(), Some("retry: 2000"));
        stream
    }

    /// The next message, or nothing when the stream has ended.
    async fn message(&mut self) -> Option<String> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let message = message.to_owned();
                self.text = rest.to_owned();
                return Some(message);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await;
            let chunk = chunk.expect("a message in time").unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next message as id, name and data.
    async fn event(&mut self) -> (String, String, Value) {
        let message = self.message().await.expect("a stream that goes on");
        let field = |name: &str| {
            let mut lines = message.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value.unwrap_or_default().to_owned()
        };
        let data = serde_json::from_str(&field("data")).unwrap();
        (field("id"), field("event"), data)
    }

    async fn number(&mut self) -> u64 {
        let (id, name, data) = self.event().await;
        assert_eq!(
            (&*id, &*name),
            (data["id"].as_str().unwrap(), data["type"].as_str().unwrap())
        );
        data["data"]["n"].as_u64().unwrap()
    }
}

fn publish(server: &TestServer, n: u64) {
    let pool = PoolName::new(if n.is_multiple_of(2) { "even" } else { "odd" }).unwrap();
    let kind = if n < 5 {
        "worker.ready"
    } else {
        "scaling.decided"
    };
    server
        .feed
        .publish(EventDraft::of_pool(kind, &pool, json!({ "n": n })));
}

async fn server_with(count: u64) -> TestServer {
    let server = TestServer::start().await;
    (0..count).for_each(|n| publish(&server, n));
    server.feed.flush().await.unwrap();
    server
}

fn numbers(batch: &Value) -> Vec<u64> {
    let events = batch.as_array().unwrap().iter();
    events
        .map(|event| event["data"]["n"].as_u64().unwrap())
        .collect()
}

#[actix_web::test]
async fn a_batch_holds_what_was_asked_for() {
    let server = server_with(10).await;
    let response = server.get("/v1/events?limit=3").send().await.unwrap();
    assert_eq!(
        response.headers()["content-type"],
        "application/cloudevents-batch+json"
    );
    let newest: Value = response.json().await.unwrap();
    assert_eq!(numbers(&newest), [7, 8, 9]);
    assert_eq!(newest[0]["specversion"], "1.0");
    let since = newest[1]["id"].as_str().unwrap();
    let after = server.document(&format!("/v1/events?since={since}")).await;
    assert_eq!(numbers(&after), [9]);
    let even = server.document("/v1/events?pool=even&type=scaling").await;
    assert_eq!(numbers(&even), [6, 8]);
    let full = server
        .document("/v1/events?type=io.tidepool.worker.ready")
        .await;
    assert_eq!(numbers(&full), [0, 1, 2, 3, 4]);
    assert_eq!(server.document("/v1/events?type=batch").await, json!([]));
}

#[actix_web::test]
async fn a_stream_replays_and_follows() {
    let server = server_with(10).await;
    let batch = server.document("/v1/events").await;
    let since = batch[6]["id"].as_str().unwrap();
    let mut stream = Stream::open(&server, &format!("?since={since}"), None).await;
    for n in 7..10 {
        assert_eq!(stream.number().await, n);
    }
    publish(&server, 10);
    assert_eq!(stream.number().await, 10);
}

#[actix_web::test]
async fn a_stream_is_open_before_anything_happens() {
    let server = TestServer::start().await;
    let mut stream = Stream::open(&server, "?type=scaling", None).await;
    (0..6).for_each(|n| publish(&server, n));
    assert_eq!(stream.number().await, 5);
}

#[actix_web::test]
async fn the_last_seen_id_wins_over_the_first_query() {
    let server = server_with(10).await;
    let batch = server.document("/v1/events").await;
    let id = |n: usize| batch[n]["id"].as_str().unwrap();
    let query = format!("?since={}", id(0));
    let mut stream = Stream::open(&server, &query, Some(id(7))).await;
    assert_eq!(stream.number().await, 8);
}

#[actix_web::test]
async fn a_limited_stream_ends() {
    let server = server_with(10).await;
    let mut stream = Stream::open(&server, "?since=0-0&limit=2", None).await;
    assert_eq!(stream.number().await, 0);
    assert_eq!(stream.number().await, 1);
    assert_eq!(stream.message().await, None);
}

#[actix_web::test]
async fn a_stream_from_too_long_ago_says_resync() {
    let small = |config| FeedConfig {
        memory_len: 4,
        ..config
    };
    let server = TestServer::start_with(None, small).await;
    for n in 0..10 {
        publish(&server, n);
        server.feed.flush().await.unwrap();
    }
    let mut stream = Stream::open(&server, "?since=1-0", None).await;
    let (id, name, _) = stream.event().await;
    assert_eq!((&*id, &*name), ("", "resync"));
    assert_eq!(stream.number().await, 6);
    let invalid = server
        .get("/v1/events")
        .header("accept", "text/event-stream")
        .header("last-event-id", "x");
    let body = problem(invalid.send().await.unwrap(), 400, "bad_query").await;
    assert_eq!(body["errors"][0]["parameter"], "Last-Event-ID");
}

#[actix_web::test]
async fn streams_are_counted_bounded_and_given_back() {
    let server = TestServer::start().await;
    let mut streams = Vec::new();
    for _ in 0..EVENT_STREAMS_MAX {
        streams.push(Stream::open(&server, "", None).await);
    }
    assert_eq!(server.feed.subscribers(), EVENT_STREAMS_MAX);
    let request = || {
        server
            .get("/v1/events")
            .header("accept", "text/event-stream")
            .send()
    };
    problem(request().await.unwrap(), 503, "too_many_streams").await;
    // Batches are not streams.
    assert_eq!(server.document("/v1/events").await, json!([]));
    streams.pop();
    let begin = std::time::Instant::now();
    while request().await.unwrap().status() != 200 {
        // A server notices a closed connection when it looks at it.
        assert!(begin.elapsed() < PATIENCE, "the place was not given back");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[actix_web::test]
async fn streams_end_when_the_process_drains() {
    let server = TestServer::start().await;
    let mut stream = Stream::open(&server, "", None).await;
    publish(&server, 1);
    assert_eq!(stream.number().await, 1);
    server.drain.send(true).unwrap();
    assert_eq!(stream.message().await, None);
    let request = server
        .get("/v1/events")
        .header("accept", "text/event-stream");
    problem(request.send().await.unwrap(), 503, "draining").await;
    tokio::time::timeout(PATIENCE, server.stop()).await.unwrap();
}
