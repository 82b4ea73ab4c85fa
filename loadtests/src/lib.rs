//! tidepool-loadtests
