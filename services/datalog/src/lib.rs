//! tidepool-datalog
