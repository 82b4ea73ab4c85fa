//! What a container that ended by itself leaves behind: how it ended, and what it said last. Once it
//! is removed nobody can ask.

use bollard::Docker;
use bollard::query_parameters::{InspectContainerOptions, LogsOptionsBuilder};
use futures_util::StreamExt;

/// Most of what it said that is passed on, in bytes.
const SAID_BYTES_MAX: usize = 2 * 1024;
/// Lines that are asked for.
const LINES: &str = "20";

/// How a container ended.
#[derive(Debug, Default)]
pub(super) struct LastWords {
    /// The code of its process; nothing when the engine does not say.
    pub(super) exit_code: Option<i64>,
    /// Whether it was killed for its memory.
    pub(super) is_out_of_memory: bool,
    /// Why it could not be started, if it could not.
    pub(super) error: Option<String>,
    /// The end of its output.
    pub(super) said: String,
}

impl LastWords {
    /// Asks the engine. What it does not tell is left out: a container is removed all the same.
    pub(super) async fn of(engine: &Docker, id: &str) -> Self {
        let inspected = engine
            .inspect_container(id, None::<InspectContainerOptions>)
            .await;
        let state = inspected.ok().and_then(|container| container.state);
        let state = state.unwrap_or_default();
        Self {
            exit_code: state.exit_code,
            is_out_of_memory: state.oom_killed.unwrap_or_default(),
            error: state.error.filter(|error| !error.is_empty()),
            said: said(engine, id).await,
        }
    }
}

/// The end of what it said. It is read as it comes, so that a line of any length takes no memory.
async fn said(engine: &Docker, id: &str) -> String {
    let options = LogsOptionsBuilder::new()
        .stdout(true)
        .stderr(true)
        .tail(LINES)
        .build();
    let mut pieces = Box::pin(engine.logs(id, Some(options)));
    let mut tail = Vec::new();
    while let Some(Ok(piece)) = pieces.next().await {
        keep_end(&mut tail, &piece.into_bytes());
    }
    String::from_utf8_lossy(&tail).trim().to_owned()
}

fn keep_end(tail: &mut Vec<u8>, piece: &[u8]) {
    let piece = &piece[piece.len().saturating_sub(SAID_BYTES_MAX)..];
    let over = (tail.len() + piece.len()).saturating_sub(SAID_BYTES_MAX);
    tail.drain(..over);
    tail.extend_from_slice(piece);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_and_no_more() {
        let mut tail = Vec::new();
        keep_end(&mut tail, b"first\n");
        keep_end(&mut tail, &[b'x'; SAID_BYTES_MAX - 2]);
        keep_end(&mut tail, b"y\n");
        assert_eq!(tail.len(), SAID_BYTES_MAX);
        assert!(tail.starts_with(b"xx") && tail.ends_with(b"xy\n"));
        keep_end(&mut tail, &[b'z'; 3 * SAID_BYTES_MAX]);
        assert_eq!(tail, [b'z'; SAID_BYTES_MAX]);
    }
}
