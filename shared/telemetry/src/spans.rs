//! Spans out to an OTLP collector, without ever waiting for it.
//!
//! Records go into the SDK's bounded queue; a thread of its own sends batches. A collector that is
//! slow or gone fills the queue, further spans are dropped and counted, and requests notice nothing.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SpanData, SpanEvents, SpanExporter, SpanLinks, SpanProcessor,
};
use parking_lot::Mutex;
use tidepool_core::{SpanId, TraceContext};

pub use opentelemetry::trace::SpanKind;

/// Longest wait for the last spans when the process ends.
const SHUTDOWN_S: u64 = 2;

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The OTLP exporter refused its configuration.
    #[error("the OTLP exporter cannot be built: {0}")]
    Exporter(String),
    /// The log filter is not one.
    #[error("the log level is not a valid filter: {0}")]
    LogLevel(String),
    /// Logging was set up twice.
    #[error("logging cannot be set up: {0}")]
    Logs(String),
}

/// A value of a span attribute.
pub type Attribute = (&'static str, Value);

/// One finished step of a trace.
#[derive(Clone, Debug)]
pub struct SpanRecord {
    /// Low-cardinality name.
    pub name: Cow<'static, str>,
    /// The trace and this span's own id.
    pub context: TraceContext,
    /// The span above it, if any.
    pub parent: Option<SpanId>,
    /// Server, internal, client, ...
    pub kind: SpanKind,
    /// When it began.
    pub begin: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// Bounded values without request texts or secrets.
    pub attributes: Vec<Attribute>,
    /// What went wrong, in words without request texts.
    pub error: Option<Cow<'static, str>>,
}

/// Where spans go.
#[derive(Clone, Debug)]
pub struct SpansConfig {
    /// Base URL of an OTLP/HTTP collector, such as `http://127.0.0.1:4318`.
    pub otlp_endpoint: String,
    /// Version of the program.
    pub version: String,
    /// Name of this process.
    pub node: String,
}

/// How the export does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportHealth {
    /// Spans that the collector took.
    pub exported: u64,
    /// Spans that it did not take.
    pub failed: u64,
    /// The last error, until an export succeeds.
    pub last_error: Option<String>,
}

#[derive(Debug, Default)]
struct Counters {
    exported: AtomicU64,
    failed: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// A cheap handle that takes finished spans. Without a collector it takes nothing.
#[derive(Clone)]
pub struct Spans {
    processor: Option<Arc<BatchSpanProcessor>>,
    counters: Arc<Counters>,
    scope: InstrumentationScope,
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spans")
            .field("on", &self.is_on())
            .finish_non_exhaustive()
    }
}

impl Spans {
    /// Takes nothing.
    #[must_use]
    pub fn off() -> Self {
        Self {
            processor: None,
            counters: Arc::default(),
            scope: InstrumentationScope::builder("tidepool").build(),
        }
    }

    /// Exports to a collector over OTLP/HTTP. The collector need not be there yet.
    /// `OTEL_BSP_*`, `OTEL_EXPORTER_OTLP_*` and `OTEL_RESOURCE_ATTRIBUTES` apply.
    ///
    /// # Errors
    /// When the endpoint is no URL.
    pub fn to_collector(config: &SpansConfig) -> Result<Self, TelemetryError> {
        let url = format!("{}/v1/traces", config.otlp_endpoint.trim_end_matches('/'));
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(url)
            .with_timeout(Duration::from_secs(3))
            .build()
            .map_err(|e| TelemetryError::Exporter(e.to_string()))?;
        let counters = Arc::new(Counters::default());
        let counted = Counted {
            inner: exporter,
            counters: Arc::clone(&counters),
        };
        let mut processor = BatchSpanProcessor::builder(counted).build();
        processor.set_resource(&resource(config));
        let scope = InstrumentationScope::builder("tidepool")
            .with_version(config.version.clone())
            .build();
        Ok(Self {
            processor: Some(Arc::new(processor)),
            counters,
            scope,
        })
    }

    /// Whether anybody takes spans; when not, do not build any.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.processor.is_some()
    }

    /// Hands over a finished span; never waits. Dropped when the queue is full.
    pub fn record(&self, span: SpanRecord) {
        if let Some(processor) = &self.processor {
            processor.on_end(self.span_data(span));
        }
    }

    /// How the export does.
    #[must_use]
    pub fn health(&self) -> ExportHealth {
        ExportHealth {
            exported: self.counters.exported.load(Ordering::Relaxed),
            failed: self.counters.failed.load(Ordering::Relaxed),
            last_error: self.counters.last_error.lock().clone(),
        }
    }

    /// Sends what is queued and stops. Blocks for up to two seconds: never call it on a runtime
    /// thread.
    pub fn shutdown(&self) {
        if let Some(processor) = &self.processor
            && let Err(error) = processor.shutdown_with_timeout(Duration::from_secs(SHUTDOWN_S))
        {
            tracing::debug!(%error, "the last spans were not all exported");
        }
    }

    fn span_data(&self, span: SpanRecord) -> SpanData {
        let context = &span.context;
        let parent = span.parent.map_or(0, |id| id.0);
        SpanData {
            span_context: SpanContext::new(
                context.trace_id.0.into(),
                context.span_id.0.into(),
                // What is handed over is meant to be kept, also when only its outcome said so.
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: parent.into(),
            parent_span_is_remote: span.kind == SpanKind::Server,
            span_kind: span.kind,
            name: span.name,
            start_time: span.begin,
            end_time: span.end,
            attributes: span
                .attributes
                .into_iter()
                .map(|(k, v)| KeyValue::new(k, v))
                .collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: span
                .error
                .map_or(Status::Unset, |e| Status::Error { description: e }),
            instrumentation_scope: self.scope.clone(),
        }
    }
}

fn resource(config: &SpansConfig) -> Resource {
    let builder = Resource::builder().with_attributes([
        KeyValue::new("service.version", config.version.clone()),
        KeyValue::new("service.instance.id", config.node.clone()),
    ]);
    // OTEL_SERVICE_NAME is the convention of every SDK; it wins where it is set.
    match std::env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => builder.build(),
        _ => builder.with_service_name("tidepool").build(),
    }
}

/// An exporter that remembers how it went.
#[derive(Debug)]
struct Counted<E> {
    inner: E,
    counters: Arc<Counters>,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let result = self.inner.export(batch).await;
        let error = match &result {
            Ok(()) => {
                self.counters.exported.fetch_add(spans, Ordering::Relaxed);
                None
            }
            Err(error) => {
                self.counters.failed.fetch_add(spans, Ordering::Relaxed);
                Some(error.to_string())
            }
        };
        *self.counters.last_error.lock() = error;
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
