//! tidepool-feed
