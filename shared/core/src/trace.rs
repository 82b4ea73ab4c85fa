//! Identity of a trace as W3C Trace Context defines it. Parsing of headers is telemetry's.

use std::fmt;

/// Sixteen bytes that all spans of one request share; never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TraceId(pub u128);

/// Eight bytes that name one span; never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SpanId(pub u64);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl SpanId {
    /// A fresh id.
    #[must_use]
    pub fn random() -> Self {
        Self(fastrand::u64(1..))
    }
}

impl TraceId {
    /// A fresh id.
    #[must_use]
    pub fn random() -> Self {
        Self(fastrand::u128(1..))
    }
}

/// Where a request stands in its trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that work done now is a child of.
    pub span_id: SpanId,
    /// Whether the spans are to be exported whatever the outcome.
    pub sampled: bool,
}

impl TraceContext {
    /// A new trace that nobody asked for.
    #[must_use]
    pub fn root(sampled: bool) -> Self {
        Self {
            trace_id: TraceId::random(),
            span_id: SpanId::random(),
            sampled,
        }
    }

    /// The same trace, one span further down.
    #[must_use]
    pub fn child(self) -> Self {
        Self {
            span_id: SpanId::random(),
            ..self
        }
    }

    /// The value of a `traceparent` header, in ASCII.
    #[must_use]
    pub fn traceparent(&self) -> [u8; 55] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        put_hex(&mut text[3..35], &self.trace_id.0.to_be_bytes());
        put_hex(&mut text[36..52], &self.span_id.0.to_be_bytes());
        text[54] = b'0' + u8::from(self.sampled);
        text
    }
}

/// Hexadecimal by table: every answer carries such a header, and formatting shows in profiles.
fn put_hex(text: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (digits, byte) in text.chunks_exact_mut(2).zip(bytes) {
        digits[0] = DIGITS[usize::from(byte >> 4)];
        digits[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_traceparent() {
        let context = TraceContext {
            trace_id: TraceId(0xabc),
            span_id: SpanId(0xd),
            sampled: true,
        };
        assert_eq!(
            &context.traceparent(),
            b"00-00000000000000000000000000000abc-000000000000000d-01"
        );
    }
}
