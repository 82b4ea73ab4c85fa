//! Reads the trace that a caller started: W3C `traceparent`, or `uber-trace-id` of Jaeger clients.
#![expect(
    deprecated,
    reason = "callers with old Jaeger clients are to join their traces too"
)]

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_jaeger_propagator::Propagator as JaegerPropagator;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tidepool_core::{SpanId, TraceContext, TraceId};

struct OneHeader<'a>(&'static str, &'a str);

impl Extractor for OneHeader<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == self.0).then_some(self.1)
    }

    fn keys(&self) -> Vec<&str> {
        vec![self.0]
    }
}

/// The caller's position in its trace. A malformed header is as good as none: the request then
/// starts a trace of its own.
#[must_use]
pub fn remote_context(
    traceparent: Option<&str>,
    uber_trace_id: Option<&str>,
) -> Option<TraceContext> {
    let w3c = |value| {
        extract(
            &TraceContextPropagator::new(),
            &OneHeader("traceparent", value),
        )
    };
    let jaeger = |value| extract(&JaegerPropagator::new(), &OneHeader("uber-trace-id", value));
    traceparent
        .filter(|value| is_w3c(value))
        .and_then(w3c)
        .or_else(|| uber_trace_id.filter(|v| is_jaeger(v)).and_then(jaeger))
}

/// Whether a value has the form of W3C Trace Context: version, trace, span and flags in
/// lower-case hexadecimal digits of fixed number. The propagator takes shorter ones too.
fn is_w3c(value: &str) -> bool {
    let is_field = |(field, len): (&str, usize)| {
        let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        field.len() == len && field.bytes().all(is_digit)
    };
    let fields: Vec<&str> = value.splitn(5, '-').collect();
    // Version 0 ends after the flags; what a later one adds is not for us.
    let has_end = fields.len() == 4 || (fields.len() == 5 && fields[0] != "00");
    has_end && fields.into_iter().zip([2, 32, 16, 2]).all(is_field)
}

/// Whether a value has the form of Jaeger: four fields of hexadecimal digits. The propagator
/// writes values that have not into the log.
fn is_jaeger(value: &str) -> bool {
    let is_field = |field: &str| field.len() <= 32 && field.bytes().all(|b| b.is_ascii_hexdigit());
    let fields = value.replace("%3A", ":");
    fields.split(':').count() == 4 && fields.split(':').all(is_field)
}

fn extract(propagator: &dyn TextMapPropagator, header: &OneHeader<'_>) -> Option<TraceContext> {
    let context = propagator.extract_with_context(&Context::new(), header);
    let span = context.span().span_context().clone();
    span.is_valid().then(|| TraceContext {
        trace_id: TraceId(u128::from_be_bytes(span.trace_id().to_bytes())),
        span_id: SpanId(u64::from_be_bytes(span.span_id().to_bytes())),
        sampled: span.is_sampled(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn reads_traceparent() {
        let header = format!("00-{TRACE}-b7ad6b7169203331-01");
        let context = remote_context(Some(&header), None).unwrap();
        assert_eq!(context.trace_id.to_string(), TRACE);
        assert_eq!(context.span_id.to_string(), "b7ad6b7169203331");
        assert!(context.sampled);
        assert_eq!(context.traceparent(), header.as_bytes());
    }

    #[test]
    fn reads_what_a_later_version_begins_with() {
        let header = format!("01-{TRACE}-b7ad6b7169203331-01-what-is-to-come");
        assert!(remote_context(Some(&header), None).is_some());
    }

    #[test]
    fn reads_jaeger_when_there_is_no_w3c() {
        let header = format!("{TRACE}:b7ad6b7169203331:0:1");
        let context = remote_context(None, Some(&header)).unwrap();
        assert_eq!(context.trace_id.to_string(), TRACE);
        assert!(context.sampled);
    }

    #[test]
    fn malformed_headers_are_ignored() {
        let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        let upper = format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase());
        let longer = format!("00-{TRACE}-b7ad6b7169203331-01-more");
        let short = "00-abc-def-01";
        for bad in ["", "x", ":::", zero, short, "ff-\u{e9}", &upper, &longer] {
            assert_eq!(remote_context(Some(bad), Some(bad)), None, "{bad}");
        }
    }
}
