//! tidepool-handlers
