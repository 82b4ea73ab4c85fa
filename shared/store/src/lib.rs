//! tidepool-store
