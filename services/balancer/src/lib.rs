//! tidepool-balancer
