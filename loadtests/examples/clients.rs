//! Many clients at once, each with a connection and a memory of its own, in a closed loop: everybody is
//! answered, nobody sees what another one stored, and the memory of the server comes back.
//!
//! `cargo run --release -p tidepool-loadtests --example clients -- API_URL OPERATOR_URL [clients]...`
//!
//! Each client stores a note in its own namespace, recalls it, and sends twenty echoes of 20 ms work.
//! Exits with 1 when an answer was wrong, or neither an answer nor a refusal with 429 or 503.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

type Problem = Box<dyn std::error::Error + Send + Sync>;

const ECHOES: u32 = 20;
/// Longest that a request may take: whoever waits for longer than the default deadline is refused.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long the server has to give its memory back.
const REST: Duration = Duration::from_secs(15);

/// What became of the requests of some clients.
struct Tally {
    answered: u64,
    refused: u64,
    /// Neither, or wrong; the first of them is told.
    wrong: u64,
    first_wrong: Option<String>,
    latency_us: Histogram<u64>,
}

enum Seen {
    Answer(Value),
    Refusal,
    Other(String),
}

#[tokio::main]
async fn main() -> Result<(), Problem> {
    let mut args = std::env::args().skip(1);
    let (Some(api), Some(operator)) = (args.next(), args.next()) else {
        return Err("give the API's and the operator's URL".into());
    };
    let mut counts = args.map(|n| n.parse()).collect::<Result<Vec<usize>, _>>()?;
    if counts.is_empty() {
        counts = vec![10, 100, 1_000, 5_000];
    }
    let mut out = std::io::stdout();
    writeln!(
        out,
        "| clients | requests | answered | refused (429, 503) | anything else | p50, p99, max ms | s | MB before, with them, after |\n|---|---|---|---|---|---|---|---|"
    )?;
    let mut is_right = true;
    for clients in counts {
        let before = resident_mb(&operator).await?;
        let begin = Instant::now();
        let (tally, most) = together(&api, &operator, clients).await?;
        let seconds = begin.elapsed().as_secs_f64();
        tokio::time::sleep(REST).await;
        let after = resident_mb(&operator).await?;
        let ms = |q: f64| tally.latency_us.value_at_quantile(q) as f64 / 1_000.0;
        writeln!(
            out,
            "| {clients} | {} | {} | {} | {} | {:.0}, {:.0}, {:.0} | {seconds:.1} | {before:.0}, {most:.0}, {after:.0} |",
            tally.answered + tally.refused + tally.wrong,
            tally.answered,
            tally.refused,
            tally.wrong,
            ms(0.5),
            ms(0.99),
            ms(1.0),
        )?;
        if let Some(first) = &tally.first_wrong {
            writeln!(out, "the first that was neither: {first}")?;
        }
        is_right &= tally.wrong == 0;
    }
    std::process::exit(i32::from(!is_right));
}

/// Lets so many clients loose; tells what became of them, and the most memory that was seen.
async fn together(api: &str, operator: &str, clients: usize) -> Result<(Tally, f64), Problem> {
    let http = Client::builder()
        .pool_max_idle_per_host(clients)
        .timeout(TIMEOUT)
        .no_proxy()
        .build()?;
    let begin = Arc::new(tokio::sync::Barrier::new(clients));
    let mut running = tokio::task::JoinSet::new();
    for number in 0..clients {
        let client = OneClient {
            http: http.clone(),
            api: api.to_owned(),
            name: format!("client-{clients}-{number}"),
        };
        let begin = Arc::clone(&begin);
        running.spawn(async move {
            begin.wait().await;
            client.run().await
        });
    }
    let (mut sum, mut most) = (Tally::new()?, 0.0_f64);
    let mut looks = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            ended = running.join_next() => match ended {
                Some(tally) => sum.add(tally??)?,
                None => return Ok((sum, most)),
            },
            _ = looks.tick() => {
                // A server at its limit may not answer; the next look will.
                most = most.max(resident_mb(operator).await.unwrap_or(0.0));
            }
        }
    }
}

struct OneClient {
    http: Client,
    api: String,
    name: String,
}

impl OneClient {
    async fn run(&self) -> Result<Tally, Problem> {
        let mut tally = Tally::new()?;
        let name = &self.name;
        let items = json!([{ "id": name, "text": format!("the secret of {name}") }]);
        let store = json!({ "op": "store", "namespace": name, "items": items });
        self.ask(&mut tally, "memory", &store, |_| true).await?;
        let recall = json!({ "op": "recall", "namespace": name, "query": "secret", "limit": 5 });
        let is_own = |answer: &Value| {
            let matches = answer["matches"].as_array();
            matches.is_some_and(|all| all.iter().all(|found| found["id"] == name.as_str()))
        };
        self.ask(&mut tally, "memory", &recall, is_own).await?;
        for turn in 0..ECHOES {
            let text = format!("{name}, turn {turn}");
            let echo = json!({ "text": text, "sleep_ms": 20 });
            let is_same = |answer: &Value| answer["text"] == text.as_str();
            self.ask(&mut tally, "echo", &echo, is_same).await?;
        }
        let forget = json!({ "op": "forget", "namespace": name, "all": true });
        self.ask(&mut tally, "memory", &forget, |_| true).await?;
        Ok(tally)
    }

    async fn ask(
        &self,
        tally: &mut Tally,
        kind: &str,
        input: &Value,
        is_right: impl Fn(&Value) -> bool,
    ) -> Result<(), Problem> {
        let begin = Instant::now();
        let seen = self.send(kind, input).await;
        let took_us = u64::try_from(begin.elapsed().as_micros())?;
        match seen {
            Seen::Answer(answer) if is_right(&answer) => {
                tally.answered += 1;
                tally.latency_us.record(took_us)?;
            }
            Seen::Refusal => tally.refused += 1,
            Seen::Answer(wrong) => tally.is_wrong(format!("{kind}: {wrong}")),
            Seen::Other(other) => tally.is_wrong(format!("{kind}: {other}")),
        }
        Ok(())
    }

    async fn send(&self, kind: &str, input: &Value) -> Seen {
        let url = format!("{}/v1/invoke/{kind}", self.api);
        let answered = self.http.post(url).json(input).send().await;
        let answer = match answered {
            Ok(answer) => answer,
            Err(error) => return Seen::Other(format!("{error:?}")),
        };
        let status = answer.status();
        match answer.json().await {
            Ok(body) if status == StatusCode::OK => Seen::Answer(body),
            Ok(_)
                if [
                    StatusCode::TOO_MANY_REQUESTS,
                    StatusCode::SERVICE_UNAVAILABLE,
                ]
                .contains(&status) =>
            {
                Seen::Refusal
            }
            Ok(problem) => Seen::Other(format!("{status}: {problem}")),
            Err(error) => Seen::Other(format!("{status}: {error:?}")),
        }
    }
}

impl Tally {
    fn new() -> Result<Self, Problem> {
        Ok(Self {
            answered: 0,
            refused: 0,
            wrong: 0,
            first_wrong: None,
            latency_us: Histogram::new(3)?,
        })
    }

    fn is_wrong(&mut self, what: String) {
        self.wrong += 1;
        self.first_wrong.get_or_insert(what);
    }

    fn add(&mut self, other: Self) -> Result<(), Problem> {
        self.answered += other.answered;
        self.refused += other.refused;
        self.wrong += other.wrong;
        if let Some(first) = other.first_wrong {
            self.first_wrong.get_or_insert(first);
        }
        self.latency_us.add(other.latency_us)?;
        Ok(())
    }
}

/// Resident memory of the server.
async fn resident_mb(operator: &str) -> Result<f64, Problem> {
    let text = reqwest::get(format!("{operator}/metrics"))
        .await?
        .text()
        .await?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
    Ok(value
        .ok_or("the server does not tell its memory")?
        .parse::<f64>()?
        / 1e6)
}
