//! Callers that do not wait for one another: requests at a fixed rate whatever comes back.
//!
//! A caller knows all balancers. Requests go to them in turn, those of each kind too; when that one refuses the
//! connection nothing has been sent, and the request is offered to the next one, once each. Nothing
//! else is ever sent twice: whatever comes after a connection is there is what is written down.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::history::{Line, Recorder, Request, RequestKind};
use crate::run::Plant;

/// Requests under way at a time; one that comes on top of these is written down as not sent.
const IN_FLIGHT_MAX: usize = 4_096;
/// What requests allow the service.
const DEADLINE_MS: u64 = 5_000;
/// What the client allows beyond it, before it gives up.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Idle connections are not used again after this time.
const IDLE: Duration = Duration::from_secs(2);
/// Streams of notes.
const NAMESPACES: u64 = 8;
/// Most matches of a search for one note.
const MATCHES: u64 = 20;
/// So many notes before a read is the one that it looks for, in turn; nothing: the first of all. The
/// newest may be on its way still, the oldest has seen every fault.
const NOTES_BACK: [Option<u64>; 5] = [Some(1), Some(5), Some(20), Some(100), None];
/// How long a note is looked for.
const FIND_MAX: Duration = Duration::from_secs(30);

/// How much is sent, and of what.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Load {
    /// Requests a second.
    pub rate_per_s: f64,
    /// Of every so many requests, one stores a note; 0: none does.
    pub note_every: u64,
    /// Of every so many requests, one looks for a note of before; 0: none does.
    pub read_every: u64,
    /// How long the service waits within an echo, in ms.
    pub work_ms: u64,
    /// How long it computes, in ms.
    pub spin_ms: u64,
}

impl Load {
    /// What a request of this number asks for.
    #[must_use]
    pub fn kind(&self, id: u64) -> RequestKind {
        let is_turn = |every: u64, turn: u64| every > 0 && id % every == turn;
        if is_turn(self.note_every, self.note_every.saturating_sub(1)) {
            RequestKind::Note
        } else if is_turn(self.read_every, self.read_every / 2) {
            RequestKind::Read
        } else {
            RequestKind::Echo
        }
    }

    /// Whose turn it is among the balancers. It moves on by one more after as many requests as there is a note
    /// or a read in: every tenth request would always come to the same one of two.
    fn turn(&self, id: u64) -> u64 {
        let every = self.note_every.max(self.read_every);
        id + id.checked_div(every).unwrap_or(0)
    }

    /// Which of the reads a request is.
    fn read_turn(&self, id: u64) -> u64 {
        id / self.read_every.max(1)
    }

    /// The note that a read looks for: one that was to be stored before, of another age each time.
    fn note_before(&self, id: u64) -> u64 {
        let every = self.note_every.max(1);
        let turn = (self.read_turn(id) % NOTES_BACK.len() as u64) as usize;
        let nth = NOTES_BACK[turn].map_or(0, |back| (id / every).saturating_sub(back));
        nth * every + every - 1
    }
}

/// Where requests go, and what is told of them.
#[derive(Clone, Debug)]
pub(crate) struct Callers {
    http: reqwest::Client,
    balancers: Arc<Vec<String>>,
    token: Arc<str>,
    recorder: Recorder,
    load: Load,
    begun: Instant,
    plant: Option<Plant>,
    in_flight: Arc<Semaphore>,
    /// Part of the name of every namespace: a cluster that a run before stored notes in has none of this one.
    run: u32,
}

impl Callers {
    /// Callers of balancers at `host:port` each, who show this token; time counts from `begun`.
    pub(crate) fn new(
        balancers: Vec<String>,
        token: String,
        recorder: Recorder,
        load: Load,
        begun: Instant,
        plant: Option<Plant>,
    ) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .tcp_nodelay(true)
            .pool_idle_timeout(IDLE)
            .timeout(TIMEOUT)
            .build()?;
        Ok(Self {
            http,
            balancers: Arc::new(balancers),
            token: token.into(),
            recorder,
            load,
            begun,
            plant,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            run: fastrand::u32(..),
        })
    }

    /// Sends until `until`, at the rate that `factor` gives for each time since the beginning.
    /// Returns, with the number of requests, when all of them have ended.
    pub(crate) async fn send(&self, until: Duration, factor: impl Fn(Duration) -> f64) -> u64 {
        let mut due = self.begun.elapsed();
        let mut id = 0;
        while due < until {
            tokio::time::sleep_until(self.begun + due).await;
            self.begin(id, due).await;
            due += Duration::from_secs_f64(1.0 / (self.load.rate_per_s * factor(due)).max(0.1));
            id += 1;
        }
        // The answer is nobody's to use: all permits are there when all have ended.
        let _all = self.in_flight.acquire_many(IN_FLIGHT_MAX as u32).await;
        id
    }

    async fn begin(&self, id: u64, due: Duration) {
        let callers = self.clone();
        match Arc::clone(&self.in_flight).try_acquire_owned() {
            Ok(permit) => {
                tokio::spawn(async move {
                    let request = callers.call(id, due).await;
                    callers.write_down(request).await;
                    drop(permit);
                });
            }
            Err(_) => {
                let now = self.since_us();
                let request = Request {
                    sent_us: now,
                    code: Some("not_sent".to_owned()),
                    ..self.request(id, due)
                };
                let ended_us = now;
                self.write_down(Request {
                    ended_us,
                    ..request
                })
                .await;
            }
        }
    }

    async fn write_down(&self, request: Request) {
        if self.plant == Some(Plant::ForgetfulClient) && request.id % 100 == 99 {
            return;
        }
        self.recorder.add(Line::Request(request)).await;
    }

    fn since_us(&self) -> u64 {
        micros(self.begun.elapsed())
    }

    fn request(&self, id: u64, due: Duration) -> Request {
        let kind = self.load.kind(id);
        Request {
            id,
            kind,
            intended_us: micros(due),
            sent_us: 0,
            ended_us: 0,
            status: 0,
            code: None,
            worker: None,
            balancer: self.load.turn(id) as usize % self.balancers.len(),
            attempts: 0,
            is_own: false,
            note: (kind == RequestKind::Read).then(|| self.load.note_before(id)),
            times: None,
        }
    }

    async fn call(&self, id: u64, due: Duration) -> Request {
        let mut request = self.request(id, due);
        request.sent_us = self.since_us();
        let (route, body) = match request.kind {
            RequestKind::Echo => ("echo", echo_body(id, &self.load)),
            RequestKind::Note => ("memory", self.note_body(id)),
            RequestKind::Read => ("memory", self.read_body(self.load.note_before(id))),
        };
        if self.plant == Some(Plant::InventedNote)
            && request.kind == RequestKind::Note
            && id.is_multiple_of(3)
        {
            (request.status, request.is_own, request.ended_us) = (200, true, self.since_us());
            return request;
        }
        if self.plant == Some(Plant::DoubledNote) && request.kind == RequestKind::Note {
            // Sent and forgotten: what came of it is not asked.
            let _ = self.post(request.balancer, route, body.clone()).await;
        }
        for _ in 0..self.balancers.len() {
            request.attempts += 1;
            let answer = self.post(request.balancer, route, body.clone()).await;
            let is_refused = matches!(&answer, Err(error) if error.is_connect());
            request.code = None;
            take(&mut request, answer, &body);
            self.make_stale(&mut request);
            if !is_refused {
                break;
            }
            if request.attempts < self.balancers.len() as u32 {
                request.balancer = (request.balancer + 1) % self.balancers.len();
            }
        }
        request.ended_us = self.since_us();
        request
    }

    fn read_body(&self, id: u64) -> String {
        json!({
            "op": "recall", "namespace": self.namespace(id), "query": "",
            "tags": [tag(id)], "limit": MATCHES,
        })
        .to_string()
    }

    fn note_body(&self, id: u64) -> String {
        json!({
            "op": "store", "namespace": self.namespace(id),
            "items": [{ "text": format!("note {id}"), "tags": [tag(id)] }],
        })
        .to_string()
    }

    fn namespace(&self, id: u64) -> String {
        format!("chaos-{:08x}-{}", self.run, id % NAMESPACES)
    }

    /// A read that found its note has not, if that is planted.
    fn make_stale(&self, request: &mut Request) {
        let is_turn = self.load.read_turn(request.id).is_multiple_of(3);
        if self.plant == Some(Plant::StaleRead) && is_turn && request.times.is_some() {
            request.times = Some(0);
        }
    }

    async fn post(&self, balancer: usize, route: &str, body: String) -> reqwest::Result<Answer> {
        let url = format!("http://{}/v1/invoke/{route}", self.balancers[balancer]);
        let request = self.http.post(url).header(CONTENT_TYPE, "application/json");
        let request = request.header("Tidepool-Deadline-Ms", DEADLINE_MS);
        // Where nobody asks who calls, nobody reads it.
        let request = request.bearer_auth(&self.token);
        let answer = request.body(body).send().await?;
        let worker = answer.headers().get("tidepool-worker");
        Ok(Answer {
            status: answer.status().as_u16(),
            worker: worker.and_then(|w| w.to_str().ok()).map(str::to_owned),
            body: answer.bytes().await?.to_vec(),
        })
    }

    /// How often a note is there. Asks until somebody can tell.
    pub(crate) async fn find(&self, id: u64) -> anyhow::Result<u64> {
        let query = self.read_body(id);
        let end = Instant::now() + FIND_MAX;
        let mut balancer = 0;
        loop {
            let answer = self.post(balancer, "memory", query.clone()).await;
            let found = answer
                .as_ref()
                .ok()
                .filter(|a| a.status == 200)
                .and_then(|answer| matches(&answer.body));
            if let Some(times) = found {
                return Ok(times);
            }
            anyhow::ensure!(
                Instant::now() < end,
                "note {id} cannot be looked for: {answer:?}"
            );
            balancer = (balancer + 1) % self.balancers.len();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    worker: Option<String>,
    body: Vec<u8>,
}

/// What an answer says of a request.
fn take(request: &mut Request, answer: reqwest::Result<Answer>, sent: &str) {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            request.code = Some(reason(&error).to_owned());
            return;
        }
    };
    (request.status, request.worker) = (answer.status, answer.worker);
    let body = || serde_json::from_slice::<Value>(&answer.body).ok();
    if request.status == 200 {
        if request.kind == RequestKind::Read {
            request.times = matches(&answer.body);
        }
        request.is_own = match request.kind {
            RequestKind::Echo => answer.body == sent.as_bytes(),
            RequestKind::Read => request.times.is_some(),
            RequestKind::Note => {
                body().is_some_and(|b| b["ids"].as_array().is_some_and(|i| i.len() == 1))
            }
        };
    } else {
        request.code = body().and_then(|body| Some(body["code"].as_str()?.to_owned()));
    }
}

/// The client's own word for what happened to it.
fn reason(error: &reqwest::Error) -> &'static str {
    if error.is_connect() {
        "connection_refused"
    } else if error.is_timeout() {
        "timeout"
    } else {
        "connection_lost"
    }
}

fn echo_body(id: u64, load: &Load) -> String {
    let Load {
        work_ms, spin_ms, ..
    } = load;
    let mut body = json!({ "text": format!("request {id}"), "sleep_ms": work_ms });
    if *spin_ms > 0 {
        body["spin_ms"] = json!(spin_ms);
    }
    body.to_string()
}

/// How many matches an answer to a read has.
fn matches(answer: &[u8]) -> Option<u64> {
    let found: Value = serde_json::from_slice(answer).ok()?;
    Some(found["matches"].as_array()?.len() as u64)
}

fn tag(id: u64) -> String {
    format!("note-{id}")
}

/// A duration as histories have it.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_each_kind_come_to_every_balancer() {
        let load = Load {
            rate_per_s: 200.0,
            note_every: 10,
            read_every: 10,
            work_ms: 20,
            spin_ms: 0,
        };
        for kind in [RequestKind::Echo, RequestKind::Note, RequestKind::Read] {
            let ids = (0..10_000).filter(|id| load.kind(*id) == kind);
            let firsts = ids.map(|id| load.turn(id).is_multiple_of(2));
            let (firsts, others): (Vec<bool>, Vec<bool>) = firsts.partition(|is_first| *is_first);
            assert!(firsts.len().abs_diff(others.len()) <= 1, "{kind:?}");
        }
    }
}
