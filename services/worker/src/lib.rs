//! tidepool-worker
