//! Server-sent events, read from whatever pieces the network hands over.

use std::time::Duration;

/// Longest message that is accepted, in bytes; a longer one is no event of ours.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// One message of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// The last id that the stream named, with this message or before it.
    pub(crate) id: Option<String>,
    /// The kind of message; empty for the default.
    pub(crate) event: String,
    /// Its lines, joined.
    pub(crate) data: String,
}

/// A message is longer than is sensible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event stream holds a message of more than {MESSAGE_BYTES_MAX} bytes")]
pub(crate) struct TooLong;

/// Takes bytes, gives messages. Holds at most one incomplete message.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    after_return: bool,
    pending: Message,
    has_data: bool,
    retry: Option<Duration>,
}

impl Parser {
    /// The pause before reconnecting that the server asked for, if it did.
    pub(crate) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Takes the next bytes and appends the messages that they complete.
    ///
    /// # Errors
    /// When a message gets too long; the stream is of no use then.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        messages: &mut Vec<Message>,
    ) -> Result<(), TooLong> {
        for &byte in bytes {
            // Lines end with CR, LF or CRLF.
            let ends = byte == b'\r' || (byte == b'\n' && !self.after_return);
            if ends {
                self.end_line(messages);
            } else if byte != b'\n' {
                self.line.push(byte);
            }
            self.after_return = byte == b'\r';
            if self.line.len() + self.pending.data.len() > MESSAGE_BYTES_MAX {
                return Err(TooLong);
            }
        }
        Ok(())
    }

    fn end_line(&mut self, messages: &mut Vec<Message>) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            self.end_message(messages);
            return;
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => self.add_data(value),
            "event" => value.clone_into(&mut self.pending.event),
            "id" if !value.contains('\0') => self.pending.id = Some(value.to_owned()),
            "retry" => self.retry = value.parse().ok().map(Duration::from_millis).or(self.retry),
            // Comments keep the connection alive; other fields are not for us.
            _ => {}
        }
    }

    fn add_data(&mut self, value: &str) {
        if self.has_data {
            self.pending.data.push('\n');
        }
        self.pending.data.push_str(value);
        self.has_data = true;
    }

    fn end_message(&mut self, messages: &mut Vec<Message>) {
        let next = Message {
            id: self.pending.id.clone(),
            ..Message::default()
        };
        let message = std::mem::replace(&mut self.pending, next);
        if std::mem::take(&mut self.has_data) {
            messages.push(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &str = ": hello\nretry: 500\n\nid: 1-0\nevent: a\ndata: {\"x\":\ndata:1}\n\n\
        data\n\nevent: resync\r\ndata: old\r\n\r\nid: 2-0\rdata: €\r\rdata: cut off";

    fn message(id: &str, event: &str, data: &str) -> Message {
        Message {
            id: Some(id.to_owned()),
            event: event.to_owned(),
            data: data.to_owned(),
        }
    }

    proptest! {
        #[test]
        fn messages_do_not_depend_on_how_the_bytes_are_cut(cuts in prop::collection::vec(1_usize..20, 1..40)) {
            let mut parser = Parser::default();
            let mut messages = Vec::new();
            let mut rest = STREAM.as_bytes();
            for cut in cuts.into_iter().cycle() {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                parser.feed(piece, &mut messages).unwrap();
                rest = after;
                if rest.is_empty() { break; }
            }
            prop_assert_eq!(messages, [
                message("1-0", "a", "{\"x\":\n1}"),
                message("1-0", "", ""),
                message("1-0", "resync", "old"),
                message("2-0", "", "€"),
            ]);
            prop_assert_eq!(parser.retry(), Some(Duration::from_millis(500)));
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let mut messages = Vec::new();
            prop_assert!(Parser::default().feed(&bytes, &mut messages).is_ok());
        }
    }

    #[test]
    fn an_endless_message_is_refused() {
        let mut parser = Parser::default();
        let mut messages = Vec::new();
        let line = format!("data: {}\n", "x".repeat(999));
        let fed = (0..2_000).try_for_each(|_| parser.feed(line.as_bytes(), &mut messages));
        assert_eq!(fed, Err(TooLong));
        assert!(messages.is_empty());
    }
}
