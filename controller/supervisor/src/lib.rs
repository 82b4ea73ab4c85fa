//! tidepool-supervisor
