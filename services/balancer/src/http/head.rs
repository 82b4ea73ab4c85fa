//! What the headers of a request say, read once into values.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, SystemTime};

use actix_web::http::header::{HeaderMap, HeaderValue};
use tidepool_core::{Deadline, Priority, RequestId, SpanId, TraceContext, TraceId};
use tidepool_handler::Format;
use tidepool_telemetry::{Sampler, remote_context};

use super::problem::{Code, Problem};

/// Longest deadline that a caller may ask for.
const DEADLINE_MS_MAX: u64 = 600_000;
/// Longest `X-Request-Id` that is echoed.
const REQUEST_ID_LEN_MAX: usize = 128;
/// Longest `Idempotency-Key`.
const IDEMPOTENCY_KEY_LEN_MAX: usize = 255;

/// The headers that matter here. Looking each of them up would hash a dozen names; one walk over
/// those that came compares a few.
#[derive(Default)]
pub(crate) struct Fields<'a> {
    pub(crate) authorization: Option<&'a HeaderValue>,
    content_length: Option<&'a HeaderValue>,
    content_type: Option<&'a HeaderValue>,
    content_encoding: Option<&'a HeaderValue>,
    accept: Option<&'a HeaderValue>,
    deadline: Option<&'a HeaderValue>,
    session: Option<&'a HeaderValue>,
    priority: Option<&'a HeaderValue>,
    request_id: Option<&'a HeaderValue>,
    traceparent: Option<&'a HeaderValue>,
    uber_trace_id: Option<&'a HeaderValue>,
    idempotency_key: Option<&'a HeaderValue>,
    prefers_async: bool,
}

impl<'a> Fields<'a> {
    /// Finds them; of a header that came twice the first counts.
    pub(crate) fn find(headers: &'a HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            let field = match name.as_str() {
                "authorization" => &mut fields.authorization,
                "content-length" => &mut fields.content_length,
                "content-type" => &mut fields.content_type,
                "content-encoding" => &mut fields.content_encoding,
                "accept" => &mut fields.accept,
                "tidepool-deadline-ms" => &mut fields.deadline,
                "tidepool-session" => &mut fields.session,
                "priority" => &mut fields.priority,
                "x-request-id" => &mut fields.request_id,
                "traceparent" => &mut fields.traceparent,
                "uber-trace-id" => &mut fields.uber_trace_id,
                "idempotency-key" => &mut fields.idempotency_key,
                "prefer" => {
                    fields.prefers_async |= prefers_async(value);
                    continue;
                }
                _ => continue,
            };
            field.get_or_insert(value);
        }
        fields
    }

    /// How long the body is said to be.
    pub(crate) fn announced(&self) -> Option<usize> {
        text(self.content_length)?.parse().ok()
    }
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value.and_then(|value| value.to_str().ok())
}

/// RFC 7240: preferences are separated by commas, and unknown ones are passed over.
fn prefers_async(value: &HeaderValue) -> bool {
    let mut preferences = value.to_str().unwrap_or_default().split(',');
    preferences.any(|preference| {
        let name = preference.split(';').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("respond-async")
    })
}

/// Who the request is, whatever else is wrong with it.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) request_id: RequestId,
    /// What the caller calls it, if it does.
    pub(crate) callers_id: Option<String>,
    /// This request's own span.
    pub(crate) trace: TraceContext,
    /// The caller's span.
    pub(crate) parent: Option<SpanId>,
}

impl Identity {
    /// Joins the caller's trace, or begins one whose id is the request's.
    pub(crate) fn read(fields: &Fields<'_>, sampler: Sampler) -> Self {
        let request_id = fresh_id(SystemTime::now());
        let callers_id = text(fields.request_id)
            .filter(|id| (1..=REQUEST_ID_LEN_MAX).contains(&id.len()))
            .filter(|id| id.bytes().all(|b| b.is_ascii_graphic()))
            .map(str::to_owned);
        let (traceparent, uber) = (text(fields.traceparent), text(fields.uber_trace_id));
        let remote = (traceparent.is_some() || uber.is_some())
            .then(|| remote_context(traceparent, uber))
            .flatten();
        match remote {
            Some(remote) => {
                let parent = Some(remote.span_id);
                Self {
                    request_id,
                    callers_id,
                    trace: remote.child(),
                    parent,
                }
            }
            None => {
                let trace_id = TraceId(request_id.0.as_u128());
                let sampled = sampler.keeps(trace_id);
                let trace = TraceContext {
                    trace_id,
                    span_id: SpanId::random(),
                    sampled,
                };
                Self {
                    request_id,
                    callers_id,
                    trace,
                    parent: None,
                }
            }
        }
    }

    /// The value of `X-Request-Id` in the answer.
    pub(crate) fn echoed_id(&self) -> String {
        self.callers_id
            .clone()
            .unwrap_or_else(|| self.request_id.to_text())
    }
}

/// A version-7 UUID. Its random part need not be hard to guess, because it opens nothing; drawn
/// like this it costs a fraction of one that is.
fn fresh_id(now: SystemTime) -> RequestId {
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    let ms = u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
    let random = fastrand::u128(..).to_le_bytes();
    let mut bytes = [0; 10];
    bytes.copy_from_slice(&random[..10]);
    RequestId(uuid::Builder::from_unix_timestamp_millis(ms, &bytes).into_uuid())
}

/// What the caller wishes.
#[derive(Clone, Debug)]
pub(crate) struct Wishes {
    pub(crate) input_format: Format,
    pub(crate) reply_format: Format,
    pub(crate) deadline: Option<Duration>,
    pub(crate) priority: Priority,
    pub(crate) session: Option<u64>,
    pub(crate) idempotency_key: Option<String>,
    /// Not to wait for the answer, but to ask for it later.
    pub(crate) respond_async: bool,
}

/// What the requests of one session are hashed to.
pub(crate) fn session_of(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

impl Wishes {
    pub(crate) fn read(fields: &Fields<'_>) -> Result<Self, Problem> {
        let input_format = input_format(fields)?;
        Ok(Self {
            input_format,
            reply_format: reply_format(fields.accept, input_format)?,
            deadline: deadline(fields.deadline)?,
            priority: fields.priority.map_or_else(Priority::default, |value| {
                priority(value.to_str().unwrap_or_default())
            }),
            session: fields.session.map(|value| session_of(value.as_bytes())),
            idempotency_key: idempotency_key(fields.idempotency_key)?,
            respond_async: fields.prefers_async,
        })
    }

    /// The deadline, counted from the arrival of the request.
    pub(crate) fn deadline_from(&self, now: std::time::Instant, default_ms: u64) -> Deadline {
        Deadline::from_now(
            now,
            self.deadline
                // A clock has no instant for whatever number a configuration may hold.
                .unwrap_or_else(|| Duration::from_millis(default_ms.min(DEADLINE_MS_MAX))),
        )
    }
}

fn input_format(fields: &Fields<'_>) -> Result<Format, Problem> {
    if let Some(encoding) = fields.content_encoding
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        let detail = "bodies are read without a content encoding only";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let Some(value) = fields.content_type else {
        return Ok(Format::Json);
    };
    let text = value.to_str().unwrap_or_default();
    let media_type = text.split(';').next().unwrap_or_default().trim();
    Format::from_media_type(media_type).ok_or_else(|| {
        let shown: String = media_type.chars().take(80).collect();
        Problem::new(
            Code::UnsupportedMediaType,
            format!("'{shown}' is not read here"),
        )
    })
}

/// The accepted format with the highest weight; the input's own on a wildcard or without a wish.
pub(crate) fn reply_format(accept: Option<&HeaderValue>, input: Format) -> Result<Format, Problem> {
    let Some(value) = accept else {
        return Ok(input);
    };
    let text = value.to_str().unwrap_or_default();
    let mut best: Option<(f32, Format)> = None;
    for range in text.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let format = match parts.next().unwrap_or_default() {
            "*/*" | "application/*" => Some(input),
            media_type => Format::from_media_type(media_type),
        };
        let weight = parts
            .find_map(|p| p.strip_prefix("q=")?.parse().ok())
            .unwrap_or(1.0_f32);
        if let Some(format) = format
            && weight > 0.0
            && best.is_none_or(|(w, _)| weight > w)
        {
            best = Some((weight, format));
        }
    }
    best.map(|(_, format)| format).ok_or_else(|| {
        Problem::new(
            Code::NotAcceptable,
            "answers are application/json or application/msgpack",
        )
    })
}

fn deadline(value: Option<&HeaderValue>) -> Result<Option<Duration>, Problem> {
    let Some(value) = value else {
        return Ok(None);
    };
    let ms = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    match ms {
        Some(ms @ 1..=DEADLINE_MS_MAX) => Ok(Some(Duration::from_millis(ms))),
        _ => Err(Problem::new(
            Code::BadHeader,
            format!("Tidepool-Deadline-Ms must be a whole number from 1 to {DEADLINE_MS_MAX}"),
        )),
    }
}

/// RFC 9218: a member `u` of 0 to 7; anything else is as if it were not there.
fn priority(value: &str) -> Priority {
    let urgency = value.split(',').find_map(|member| {
        let item = member.split(';').next()?.trim();
        item.strip_prefix("u=")?
            .parse::<u8>()
            .ok()
            .filter(|u| *u <= 7)
    });
    urgency.map_or_else(Priority::default, Priority::new)
}

/// A structured-field string, or the same without its quotes.
fn idempotency_key(value: Option<&HeaderValue>) -> Result<Option<String>, Problem> {
    let Some(value) = value else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    let key = text
        .strip_prefix('"')
        .and_then(|t| t.strip_suffix('"'))
        .unwrap_or(text);
    if (1..=IDEMPOTENCY_KEY_LEN_MAX).contains(&key.len()) {
        Ok(Some(key.to_owned()))
    } else {
        let detail = format!("Idempotency-Key must have 1 to {IDEMPOTENCY_KEY_LEN_MAX} characters");
        Err(Problem::new(Code::BadHeader, detail))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderName;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        pairs.collect()
    }

    #[test]
    fn priorities_follow_rfc_9218() {
        for (text, urgency) in [
            ("u=0", 0),
            ("u=7, i", 7),
            ("i, u=5", 5),
            ("u=5;x=1", 5),
            ("u=9", 3),
            ("u=-1", 3),
            ("", 3),
            ("uu=1", 3),
        ] {
            assert_eq!(priority(text).urgency(), urgency, "{text}");
        }
    }

    #[test]
    fn picks_the_best_accepted_format() {
        let pick =
            |accept| reply_format(Some(&HeaderValue::from_static(accept)), Format::Json).ok();
        assert_eq!(pick("*/*"), Some(Format::Json));
        assert_eq!(
            pick("application/json;q=0.5, application/msgpack"),
            Some(Format::MsgPack)
        );
        assert_eq!(pick("text/html, */*;q=0.1"), Some(Format::Json));
        assert_eq!(pick("text/html"), None);
        assert_eq!(pick("application/json;q=0"), None);
    }

    #[test]
    fn refuses_headers_it_cannot_read() {
        for (name, value) in [
            ("tidepool-deadline-ms", "0"),
            ("tidepool-deadline-ms", "soon"),
            ("tidepool-deadline-ms", "600001"),
            ("content-type", "text/plain"),
            ("content-encoding", "gzip"),
            ("idempotency-key", "\"\""),
        ] {
            assert!(
                Wishes::read(&Fields::find(&headers(&[(name, value)]))).is_err(),
                "{name}: {value}"
            );
        }
    }

    #[test]
    fn a_configured_deadline_is_bounded_as_a_callers_is() {
        let now = std::time::Instant::now();
        let wishes = Wishes::read(&Fields::default()).unwrap();
        let deadline = wishes.deadline_from(now, u64::MAX);
        assert_eq!(
            deadline.remaining(now),
            Duration::from_millis(DEADLINE_MS_MAX)
        );
    }

    #[test]
    fn joins_the_callers_trace_and_echoes_its_id() {
        let headers = headers(&[
            (
                "traceparent",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            ),
            ("x-request-id", "mine"),
        ]);
        let identity = Identity::read(&Fields::find(&headers), Sampler::new(0.0));
        assert_eq!(
            identity.trace.trace_id.to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        assert_eq!(identity.parent.unwrap().to_string(), "b7ad6b7169203331");
        assert!(identity.trace.sampled);
        assert_eq!(identity.echoed_id(), "mine");
    }

    #[test]
    fn understands_preferences() {
        for (value, wished) in [
            ("respond-async", true),
            ("wait=10, Respond-Async", true),
            ("respond-async; x=1", true),
            ("return=minimal", false),
            ("respond-asynchronously", false),
        ] {
            let headers = headers(&[("prefer", value)]);
            assert_eq!(Fields::find(&headers).prefers_async, wished, "{value}");
        }
    }

    #[test]
    fn ids_are_of_their_time_and_differ() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_763_000_000_123);
        let ids: std::collections::HashSet<_> = (0..1_000).map(|_| fresh_id(now)).collect();
        assert_eq!(ids.len(), 1_000);
        for RequestId(id) in ids {
            let (seconds, nanos) = id.get_timestamp().expect("version 7").to_unix();
            assert_eq!((seconds, nanos / 1_000_000), (1_763_000_000, 123));
        }
    }

    #[test]
    fn replaces_an_unusable_request_id() {
        let headers = headers(&[("x-request-id", "a b")]);
        let identity = Identity::read(&Fields::find(&headers), Sampler::new(0.0));
        assert_eq!(identity.echoed_id(), identity.request_id.to_string());
    }
}
