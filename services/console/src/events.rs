//! `GET /v1/events`: a batch of what happened, or a stream of what happens.

use std::time::Duration;

use actix_web::http::header;
use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::{Stream, stream};
use tidepool_feed::{Delivery, Entry, Subscription};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Interval, MissedTickBehavior};

use crate::Shared;
use crate::problem::{Code, Problem};
use crate::query::{EventQuery, LIMIT_DEFAULT, event_id};

/// A silent stream shows that it lives this often.
const PING_EVERY: Duration = Duration::from_secs(15);
/// Advice to a client whose stream was refused or broke, in seconds.
const RETRY_AFTER_S: u32 = 2;

/// Answers with a stream when one is accepted, else with a batch.
pub(crate) async fn events(
    request: HttpRequest,
    shared: web::Data<Shared>,
    parameters: web::Query<Vec<(String, String)>>,
) -> Result<HttpResponse, Problem> {
    let query =
        EventQuery::read(&parameters).map_err(|fault| Problem::bad_query(fault, &request))?;
    if wants_stream(&request) {
        follow(&request, &shared, query)
    } else {
        batch(&request, &shared, query).await
    }
}

fn wants_stream(request: &HttpRequest) -> bool {
    let accept = request.headers().get(header::ACCEPT);
    accept
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("text/event-stream"))
}

async fn batch(
    request: &HttpRequest,
    shared: &Shared,
    query: EventQuery,
) -> Result<HttpResponse, Problem> {
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    let history = shared.feed.history(query.since, &query.filter, limit).await;
    let history = history.map_err(|error| {
        tracing::warn!(error = %error.full(), "events cannot be read");
        Problem::new(Code::StoreUnavailable, error.to_string(), request).retry_after(RETRY_AFTER_S)
    })?;
    let mut response = HttpResponse::Ok();
    response
        .content_type("application/cloudevents-batch+json")
        .insert_header((header::CACHE_CONTROL, "no-store"));
    if history.is_incomplete {
        // What `event: resync` is on a stream.
        response.insert_header(("tidepool-resync", "true"));
    }
    let events: Vec<&[u8]> = history.events.iter().map(|event| &event.json[..]).collect();
    let body = [b"[".as_slice(), &events.join(&b","[..]), b"]"].concat();
    Ok(response.body(body))
}

fn follow(
    request: &HttpRequest,
    shared: &Shared,
    query: EventQuery,
) -> Result<HttpResponse, Problem> {
    if shared.is_draining() {
        let detail = "no new streams are opened";
        return Err(Problem::new(Code::Draining, detail, request).retry_after(RETRY_AFTER_S));
    }
    // A client that reconnects repeats its first query, so the header is the newer of the two.
    let last_seen = match request.headers().get("last-event-id") {
        Some(id) => {
            let id = event_id("Last-Event-ID", id.to_str().unwrap_or_default())
                .map_err(|fault| Problem::bad_query(fault, request))?;
            Some(id)
        }
        None => query.since,
    };
    let place = shared.event_streams.clone().try_acquire_owned();
    let place = place.map_err(|_| {
        let detail = format!("{} are open, which is the most", crate::EVENT_STREAMS_MAX);
        Problem::new(Code::TooManyStreams, detail, request).retry_after(RETRY_AFTER_S)
    })?;
    let follower = Follower {
        subscription: shared.feed.subscribe(last_seen, query.filter),
        draining: shared.draining.clone(),
        ping: ping(),
        left: query.limit,
        greeting: Some(format!("retry: {}\n\n", RETRY_AFTER_S * 1_000).into()),
        _place: place,
    };
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_ENCODING, "identity"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(follower.into_stream()))
}

fn ping() -> Interval {
    let start = tokio::time::Instant::now() + PING_EVERY;
    let mut ping = tokio::time::interval_at(start, PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping
}

/// One open stream.
struct Follower {
    subscription: Subscription,
    draining: watch::Receiver<bool>,
    ping: Interval,
    /// Events until the stream ends, if it was asked to.
    left: Option<usize>,
    /// Sent at once, so that the client and all proxies see that the stream is open.
    greeting: Option<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl Follower {
    fn into_stream(self) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
        stream::unfold(self, |mut this| async move {
            let chunk = this.next().await?;
            Some((Ok(chunk), this))
        })
    }

    /// What goes out next; nothing when the stream ends.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(greeting) = self.greeting.take() {
            return Some(greeting);
        }
        if self.left == Some(0) {
            return None;
        }
        tokio::select! {
            biased;
            // An error means that whoever drains is gone, which ends the stream as well.
            _ = self.draining.wait_for(|is_draining| *is_draining) => None,
            delivery = self.subscription.next() => match delivery? {
                Delivery::Event(event) => {
                    self.left = self.left.map(|left| left - 1);
                    Some(frame(&event))
                }
                Delivery::Resync => Some(Bytes::from_static(
                    b"event: resync\ndata: {\"reason\":\"events are missing here\"}\n\n",
                )),
            },
            _ = self.ping.tick() => Some(Bytes::from_static(b": ping\n\n")),
        }
    }
}

/// An event as a stream carries it. Its JSON is on one line.
fn frame(event: &Entry) -> Bytes {
    let head = format!("id: {}\nevent: {}\ndata: ", event.id, event.kind);
    [head.as_bytes(), &event.json, b"\n\n"].concat().into()
}
