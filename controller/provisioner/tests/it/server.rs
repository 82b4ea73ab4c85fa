//! A small HTTP server that answers with a closure and remembers what it was asked.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: serde_json::Value,
}

/// Status and JSON body.
pub(crate) type Answer = (u16, serde_json::Value);

/// Answers, and what was asked so far.
pub(crate) struct Server<F> {
    answer: F,
    pub(crate) asked: Mutex<Vec<Asked>>,
}

impl<F: Fn(&Asked) -> Answer + Send + Sync + 'static> Server<F> {
    pub(crate) fn new(answer: F) -> Arc<Self> {
        Arc::new(Self {
            answer,
            asked: Mutex::default(),
        })
    }

    /// `METHOD path` of everything that was asked.
    pub(crate) fn calls(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .map(|asked| format!("{} {}", asked.method, asked.path))
            .collect()
    }

    pub(crate) async fn serve<S>(self: Arc<Self>, stream: S)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let mut stream = BufReader::new(stream);
        while let Some(asked) = read(&mut stream).await {
            let (status, body) = (self.answer)(&asked);
            self.asked.lock().unwrap().push(asked);
            let body = match body {
                _ if status == 204 => String::new(),
                // No JSON, such as the output of a container.
                serde_json::Value::String(raw) => raw,
                body => body.to_string(),
            };
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\napi-version: 1.41\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            if stream.write_all((head + &body).as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

async fn read<S: tokio::io::AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Option<Asked> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace().map(ToOwned::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut length = 0;
    loop {
        let mut header = String::new();
        stream
            .read_line(&mut header)
            .await
            .ok()
            .filter(|n| *n > 0)?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Some(Asked {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}
