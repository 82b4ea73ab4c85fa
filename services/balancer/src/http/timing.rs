//! `Server-Timing`, written without the machinery of formatting: every answer carries it.

use std::time::Duration;

use actix_web::http::header::HeaderValue;

/// Room for the two names and two numbers of up to 20 digits.
const LEN_MAX: usize = 72;

/// `queue;dur=1.234, work;dur=5.678` in milliseconds.
pub(super) fn server_timing(waited: Duration, work: Duration) -> HeaderValue {
    let mut text = Text {
        bytes: [0; LEN_MAX],
        len: 0,
    };
    text.push(b"queue;dur=");
    text.push_ms(waited);
    text.push(b", work;dur=");
    text.push_ms(work);
    let written = text.bytes.get(..text.len).unwrap_or_default();
    // Digits and ASCII only.
    HeaderValue::from_bytes(written).unwrap_or_else(|_| HeaderValue::from_static("queue"))
}

struct Text {
    bytes: [u8; LEN_MAX],
    len: usize,
}

impl Text {
    fn push(&mut self, part: &[u8]) {
        let end = self.len + part.len();
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(part);
            self.len = end;
        }
    }

    /// Milliseconds with three decimals.
    fn push_ms(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let digit = |n: u64| b"0123456789"[(n % 10) as usize];
        let mut whole = [0; 20];
        let mut from = whole.len();
        let mut left = us / 1_000;
        while from > 0 {
            from -= 1;
            whole[from] = digit(left);
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.push(&whole[from..]);
        self.push(&[b'.', digit(us / 100), digit(us / 10), digit(us)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_in_milliseconds_with_three_decimals() {
        for (waited, work, text) in [
            (7, 12_034, "queue;dur=0.007, work;dur=12.034"),
            (0, 999, "queue;dur=0.000, work;dur=0.999"),
            (1_000, 600_000_000, "queue;dur=1.000, work;dur=600000.000"),
        ] {
            let value = server_timing(Duration::from_micros(waited), Duration::from_micros(work));
            assert_eq!(value, text);
        }
        let longest = server_timing(Duration::MAX, Duration::MAX);
        assert!(
            longest
                .to_str()
                .unwrap()
                .ends_with("work;dur=18446744073709551.615")
        );
    }
}
