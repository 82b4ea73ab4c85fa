//! tidepool-console
