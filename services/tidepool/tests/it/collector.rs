//! A collector of traces, as small as OTLP over HTTP allows.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span, span::SpanKind};
use parking_lot::Mutex;
use prost::Message;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Takes spans and keeps them.
pub(crate) struct Collector {
    /// What to set `telemetry.otlp_endpoint` to.
    pub(crate) endpoint: String,
    taken: Arc<Mutex<Vec<Taken>>>,
}

/// A span and the process that sent it, by its `service.instance.id`.
struct Taken {
    process: String,
    span: Span,
}

impl Collector {
    /// Starts to listen. It ends with the test's runtime.
    pub(crate) async fn start() -> Self {
        let (listener, endpoint) = listen().await;
        let taken = Arc::<Mutex<Vec<Taken>>>::default();
        let taking = Arc::clone(&taken);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&taking)));
            }
        });
        Self { endpoint, taken }
    }

    /// The spans that came so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let taken = self.taken.lock();
        taken.iter().map(|taken| taken.span.clone()).collect()
    }

    /// The spans of one trace that came so far, each with the process that sent it.
    pub(crate) fn told(&self, trace_id: &str) -> Vec<(String, Span)> {
        let taken = self.taken.lock();
        let of_trace = taken
            .iter()
            .filter(|taken| hex(&taken.span.trace_id) == trace_id);
        of_trace
            .map(|taken| (taken.process.clone(), taken.span.clone()))
            .collect()
    }

    /// The spans of one trace that came so far.
    pub(crate) fn trace(&self, trace_id: &str) -> Vec<Span> {
        let mut spans = self.spans();
        spans.retain(|span| hex(&span.trace_id) == trace_id);
        spans
    }

    /// The spans of whole requests that came so far.
    pub(crate) fn requests(&self) -> Vec<Span> {
        let mut spans = self.spans();
        spans.retain(|span| span.kind() == SpanKind::Server);
        spans
    }
}

/// A collector that takes connections and never answers.
pub(crate) async fn silent() -> String {
    let (listener, endpoint) = listen().await;
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    endpoint
}

/// A port that nothing listens on.
pub(crate) async fn dead() -> String {
    listen().await.1
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    (listener, format!("http://{address}"))
}

/// Answers one request after the other until the connection ends.
async fn converse(stream: TcpStream, taken: Arc<Mutex<Vec<Taken>>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim().to_lowercase();
            if let Some(bytes) = line.strip_prefix("content-length:") {
                length = bytes.trim().parse().expect("a length");
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let export = ExportTraceServiceRequest::decode(&body[..]).expect("OTLP");
        for sent in export.resource_spans {
            let process = instance(&sent);
            let spans = sent.scope_spans.into_iter().flat_map(|scope| scope.spans);
            taken.lock().extend(spans.map(|span| Taken {
                process: process.clone(),
                span,
            }));
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\n\
            content-length: 0\r\n\r\n";
        stream.write_all(answer).await?;
    }
}

/// Who has sent this.
fn instance(sent: &ResourceSpans) -> String {
    let attributes = sent.resource.iter().flat_map(|from| &from.attributes);
    let mut named = attributes.filter(|pair| pair.key == "service.instance.id");
    let value = named
        .next()
        .and_then(|pair| pair.value.clone())
        .and_then(|value| value.value);
    match value {
        Some(Value::StringValue(name)) => name,
        _ => String::new(),
    }
}

/// An id as headers and events spell it.
pub(crate) fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
