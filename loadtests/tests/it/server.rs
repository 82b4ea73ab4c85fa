//! A server that speaks just enough HTTP/1.1 to be loaded: fixed answers, with a stall or an
//! error when a test asks for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

/// What a request gets: status, content and how long it takes.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) after: Duration,
}

impl Answer {
    pub(crate) fn ok() -> Self {
        Self::with(200, "{}")
    }

    pub(crate) fn with(status: u16, body: &str) -> Self {
        Self {
            status,
            body: body.to_owned(),
            after: Duration::ZERO,
        }
    }
}

/// What a server is asked.
pub(crate) struct Asked {
    /// Counts the posts of this server from 0; not the other requests.
    pub(crate) post: Option<u64>,
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

type Answers = dyn Fn(&Asked) -> Answer + Send + Sync;

/// A running server; it ends with the test's runtime.
pub(crate) struct Server {
    pub(crate) url: String,
    posts: Arc<AtomicU64>,
}

impl Server {
    /// Starts a server. One that is `serial` answers one request at a time, as a stalled
    /// process does: while one waits, all wait.
    pub(crate) async fn start(
        serial: bool,
        answers: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let posts = Arc::new(AtomicU64::new(0));
        let shared = Shared {
            posts: Arc::clone(&posts),
            answers: Arc::new(answers),
            turn: serial.then(Arc::default),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self { url, posts }
    }

    pub(crate) fn posts(&self) -> u64 {
        self.posts.load(Ordering::SeqCst)
    }
}

#[derive(Clone)]
struct Shared {
    posts: Arc<AtomicU64>,
    answers: Arc<Answers>,
    turn: Option<Arc<Mutex<()>>>,
}

async fn serve(stream: TcpStream, shared: Shared) {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read(&mut stream, &shared.posts).await {
        let turn = match &shared.turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        let answer = (shared.answers)(&asked);
        if !answer.after.is_zero() {
            tokio::time::sleep(answer.after).await;
        }
        drop(turn);
        let text = format!(
            "HTTP/1.1 {} X\r\nx-request-id: r-{}\r\ncontent-length: {}\r\n\r\n{}",
            answer.status,
            asked.post.unwrap_or_default(),
            answer.body.len(),
            answer.body
        );
        if stream.get_mut().write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>, posts: &AtomicU64) -> Option<Asked> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let is_post = head.starts_with("POST");
    Some(Asked {
        post: is_post.then(|| posts.fetch_add(1, Ordering::SeqCst)),
        path: head.split(' ').nth(1)?.to_owned(),
        head,
        body: String::from_utf8(body).ok()?,
    })
}
