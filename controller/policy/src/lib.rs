//! tidepool-policy
