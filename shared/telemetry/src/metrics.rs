//! The Prometheus registry that all parts register their series with.

pub use prometheus::Registry;
use prometheus::{IntGaugeVec, Opts};

/// A registry with process metrics and `tidepool_build_info`.
///
/// # Errors
/// When a collector cannot be registered, which would be a defect.
pub fn build_registry(version: &str, commit: &str) -> Result<Registry, prometheus::Error> {
    let registry = Registry::new();
    #[cfg(target_os = "linux")]
    registry.register(Box::new(
        prometheus::process_collector::ProcessCollector::for_self(),
    ))?;
    let info = IntGaugeVec::new(
        Opts::new("tidepool_build_info", "What runs; always 1"),
        &["version", "commit"],
    )?;
    info.with_label_values(&[version, commit]).set(1);
    registry.register(Box::new(info))?;
    Ok(registry)
}
