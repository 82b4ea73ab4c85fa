//! tidepool-telemetry
