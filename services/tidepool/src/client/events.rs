//! `tidepool events`: the story of the pools, from history or as it happens.

use std::io::{self, Write};
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::Value;
use tidepool_core::Event;
use tidepool_core::event::TYPE_PREFIX;

use super::operator::{CallError, Operator};
use super::sse::{Message, Parser};
use super::views::{local, numbers_of};
use crate::cli::{EventsArgs, Output};
use crate::exit::complain;
use crate::terminal::{Printer, harmless};

/// Where events are.
const PATH: [&str; 2] = ["v1", "events"];
/// Longest text of an event that has no sentence, in characters.
const SUMMARY_CHARS_MAX: usize = 160;
/// A stream that says nothing for so long, not even that it lives, has been cut.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Pauses between attempts to get back: doubling from the first to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Attempts in a row before giving up, about four minutes.
const ATTEMPTS_MAX: u32 = 30;

/// Shows events that have happened.
///
/// # Errors
/// When they cannot be had or printed.
pub(crate) async fn list<W: Write>(
    operator: &Operator,
    args: &EventsArgs,
    printer: &mut Printer<W>,
) -> anyhow::Result<()> {
    let since = args.since.map(|id| id.to_string());
    let limit = args.limit.map(|limit| limit.to_string());
    let mut query = filters(args);
    query.extend(since.as_deref().map(|since| ("since", since)));
    query.extend(limit.as_deref().map(|limit| ("limit", limit)));
    let batch = operator.get(&PATH, &query).await?;
    let events = batch.as_array().ok_or_else(|| operator.foreign())?;
    if printer.form != Output::Text {
        return Ok(printer.json_items(events)?);
    }
    events
        .iter()
        .try_for_each(|event| Ok(print(event, printer)?))
}

fn filters(args: &EventsArgs) -> Vec<(&'static str, &str)> {
    let kind = args.kind.as_deref().map(|kind| ("type", kind));
    let pool = args.pool.as_deref().map(|pool| ("pool", pool));
    kind.into_iter().chain(pool).collect()
}

/// Shows events as they happen. A broken stream is resumed where it broke.
///
/// # Errors
/// When the first connection fails, later ones fail too often, or nothing can be printed.
pub(crate) async fn follow<W: Write>(
    operator: &Operator,
    args: &EventsArgs,
    printer: &mut Printer<W>,
) -> anyhow::Result<()> {
    let mut follower = Follower {
        operator,
        args,
        printer,
        last_id: args.since.map(|id| id.to_string()),
        left: args.limit,
        pause_asked_for: None,
        connected: false,
        failures: 0,
    };
    loop {
        match follower.stream().await {
            Ok(()) => return Ok(()),
            Err(Interruption::Lost(error)) => follower.pause(error).await?,
            Err(Interruption::Output(error)) => return Err(error.into()),
        }
    }
}

/// Why a stream stopped before all that was asked for had come.
enum Interruption {
    Lost(CallError),
    Output(io::Error),
}

struct Follower<'a, W> {
    operator: &'a Operator,
    args: &'a EventsArgs,
    printer: &'a mut Printer<W>,
    last_id: Option<String>,
    left: Option<u32>,
    pause_asked_for: Option<Duration>,
    connected: bool,
    failures: u32,
}

impl<W: Write> Follower<'_, W> {
    /// Follows one connection until enough events have come.
    async fn stream(&mut self) -> Result<(), Interruption> {
        let query = filters(self.args);
        let mut response = self
            .operator
            .stream(&PATH, &query, self.last_id.as_deref())
            .await
            .map_err(Interruption::Lost)?;
        self.connected = true;
        let mut parser = Parser::default();
        loop {
            let chunk = tokio::time::timeout(SILENCE_MAX, response.chunk()).await;
            let bytes = match chunk {
                Ok(Ok(Some(bytes))) => bytes,
                Ok(Ok(None)) => return Err(self.lost("the server ended the stream")),
                Ok(Err(error)) => return Err(Interruption::Lost(self.operator.broken(&error))),
                Err(_) => return Err(self.lost("the stream fell silent")),
            };
            self.failures = 0;
            let mut messages = Vec::new();
            let fed = parser.feed(&bytes, &mut messages);
            self.pause_asked_for = parser.retry();
            for message in messages {
                self.show(message).map_err(Interruption::Output)?;
                if self.left == Some(0) {
                    return Ok(());
                }
            }
            fed.map_err(|too_long| self.lost(&too_long.to_string()))?;
        }
    }

    fn lost(&self, cause: &str) -> Interruption {
        let address = "the event stream".to_owned();
        let cause = cause.to_owned();
        Interruption::Lost(CallError::Unreachable { address, cause })
    }

    fn show(&mut self, message: Message) -> io::Result<()> {
        if let Some(id) = message.id {
            self.last_id = Some(id);
        }
        if message.event == "resync" {
            complain("some events are too old to be shown; going on with what is kept");
            return Ok(());
        }
        // What is not JSON is no event of ours.
        let Ok(event) = serde_json::from_str::<Value>(&message.data) else {
            return Ok(());
        };
        self.left = self.left.map(|left| left.saturating_sub(1));
        if self.printer.form == Output::Text {
            print(&event, self.printer)
        } else {
            // A stream has no end that could close an array: one document a line.
            self.printer.line(&event.to_string())
        }
    }

    /// Waits before the next attempt.
    async fn pause(&mut self, error: CallError) -> anyhow::Result<()> {
        let is_first = !self.connected;
        if is_first || !error.may_pass() || self.failures >= ATTEMPTS_MAX {
            return Err(error.into());
        }
        let pause = pause_after(self.failures, self.pause_asked_for);
        if self.failures == 0 {
            complain(&format!("{error}; trying to get back"));
        }
        self.failures += 1;
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// The pause after so many failures in a row.
fn pause_after(failures: u32, asked_for: Option<Duration>) -> Duration {
    let first = asked_for.unwrap_or(PAUSE_MIN).clamp(PAUSE_MIN, PAUSE_MAX);
    first
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(PAUSE_MAX)
}

fn print<W: Write>(event: &Value, printer: &mut Printer<W>) -> io::Result<()> {
    let line = serde_json::from_value(event.clone()).map_or_else(
        // A form that this version does not know is still better shown than dropped.
        |_| harmless(&event.to_string()),
        |event: Event| to_line(&event, &TimeZone::system()),
    );
    printer.line(&line)
}

fn to_line(event: &Event, zone: &TimeZone) -> String {
    let at = local(&event.time, zone, "%Y-%m-%d %H:%M:%S");
    let kind = harmless(event.kind.strip_prefix(TYPE_PREFIX).unwrap_or(&event.kind));
    let pool = harmless(event.subject.as_deref().unwrap_or("-"));
    // Alerts have a summary, as everywhere.
    let told = ["sentence", "summary"];
    let told = told.iter().find_map(|member| event.data[member].as_str());
    let story = match told {
        Some(sentence) => harmless(sentence),
        None => numbers_of(&event.data)
            .chars()
            .take(SUMMARY_CHARS_MAX)
            .collect(),
    };
    format!("{at}  {kind:<18}  {pool:<10}  {story}")
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(kind: &str, data: Value) -> Event {
        serde_json::from_value(json!({
            "specversion": "1.0", "id": "7-1", "source": "/tidepool/local",
            "type": format!("io.tidepool.{kind}"), "time": "2026-11-20T20:31:05.123Z",
            "subject": "echo", "datacontenttype": "application/json", "data": data,
        }))
        .unwrap()
    }

    #[test]
    fn a_decision_is_told_by_its_sentence() {
        let event = event(
            "scaling.decided",
            json!({"sentence": "Up to 3.", "from": 1}),
        );
        assert_eq!(
            to_line(&event, &TimeZone::UTC),
            "2026-11-20 20:31:05  scaling.decided     echo        Up to 3."
        );
    }

    #[test]
    fn an_alert_is_told_by_its_summary() {
        let data = json!({"summary": "It crashed.", "severity": "critical"});
        let line = to_line(&event("alert.firing", data), &TimeZone::UTC);
        assert!(line.ends_with("echo        It crashed."), "{line}");
    }

    #[test]
    fn other_events_are_told_by_their_numbers() {
        let event = event(
            "worker.ready",
            json!({"worker": "echo-1", "startup_s": 0.01234, "x": null}),
        );
        let line = to_line(&event, &TimeZone::UTC);
        assert!(
            line.ends_with("echo        startup_s=0.01 worker=echo-1"),
            "{line}"
        );
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        let pauses: Vec<_> = (0..8).map(|n| pause_after(n, None).as_millis()).collect();
        assert_eq!(
            pauses,
            [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]
        );
        assert_eq!(pause_after(u32::MAX, Some(Duration::ZERO)), PAUSE_MAX);
        assert_eq!(pause_after(0, Some(Duration::from_secs(3_600))), PAUSE_MAX);
    }
}
