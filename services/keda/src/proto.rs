//! The messages of KEDA's external scaler, as `proto/externalscaler.proto` numbers them.

use std::collections::HashMap;

use prost::Message;

/// Whose workers are asked about.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ScaledObjectRef {
    /// Name of the ScaledObject.
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// Its namespace.
    #[prost(string, tag = "2")]
    pub(crate) namespace: String,
    /// What its trigger says: `pool`, and `tokenFromEnv` where a token is demanded.
    #[prost(map = "string, string", tag = "3")]
    pub(crate) scaler_metadata: HashMap<String, String>,
}

/// Whether there should be any workers.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct IsActiveResponse {
    /// True when at least one is wanted.
    #[prost(bool, tag = "1")]
    pub(crate) result: bool,
}

/// The metrics there are.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetMetricSpecResponse {
    /// One of them.
    #[prost(message, repeated, tag = "1")]
    pub(crate) metric_specs: Vec<MetricSpec>,
}

/// A metric and how much of it one replica is for.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MetricSpec {
    /// Its name.
    #[prost(string, tag = "1")]
    pub(crate) metric_name: String,
    /// Workers a replica.
    #[prost(int64, tag = "2")]
    pub(crate) target_size: i64,
    /// The same for those who prefer it.
    #[prost(double, tag = "3")]
    pub(crate) target_size_float: f64,
}

/// The question for a metric.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetMetricsRequest {
    /// Whose workers are asked about.
    #[prost(message, optional, tag = "1")]
    pub(crate) scaled_object_ref: Option<ScaledObjectRef>,
    /// The metric.
    #[prost(string, tag = "2")]
    pub(crate) metric_name: String,
}

/// What the metrics are now.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetMetricsResponse {
    /// One of them.
    #[prost(message, repeated, tag = "1")]
    pub(crate) metric_values: Vec<MetricValue>,
}

/// A metric and its value.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MetricValue {
    /// Its name.
    #[prost(string, tag = "1")]
    pub(crate) metric_name: String,
    /// Workers.
    #[prost(int64, tag = "2")]
    pub(crate) metric_value: i64,
    /// The same; KEDA prefers it where it is above zero.
    #[prost(double, tag = "3")]
    pub(crate) metric_value_float: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of bytes: its number and wire type 2, its length, itself.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).unwrap();
        [&[number << 3 | 2, length], bytes].concat()
    }

    fn reference() -> Vec<u8> {
        let entry = [field(1, b"pool"), field(2, b"echo")].concat();
        [field(1, b"so"), field(2, b"ns"), field(3, &entry)].concat()
    }

    #[test]
    fn a_request_written_by_hand_is_read() {
        let request = [field(1, &reference()), field(2, b"tidepool-echo")].concat();
        let read = GetMetricsRequest::decode(&*request).unwrap();
        assert_eq!(read.metric_name, "tidepool-echo");
        let object = read.scaled_object_ref.unwrap();
        assert_eq!(
            (object.name.as_str(), object.namespace.as_str()),
            ("so", "ns")
        );
        assert_eq!(object.scaler_metadata["pool"], "echo");
        assert_eq!(object.encode_to_vec(), reference());
    }

    #[test]
    fn answers_are_the_bytes_that_the_contract_numbers() {
        assert_eq!(
            IsActiveResponse { result: true }.encode_to_vec(),
            [1 << 3, 1]
        );
        let two = 2.0_f64.to_le_bytes();
        let numbered = [&field(1, b"m")[..], &[2 << 3, 2, 3 << 3 | 1], &two].concat();
        let spec = MetricSpec {
            metric_name: "m".into(),
            target_size: 2,
            target_size_float: 2.0,
        };
        let value = MetricValue {
            metric_name: "m".into(),
            metric_value: 2,
            metric_value_float: 2.0,
        };
        let specs = GetMetricSpecResponse {
            metric_specs: vec![spec],
        };
        let values = GetMetricsResponse {
            metric_values: vec![value],
        };
        assert_eq!(specs.encode_to_vec(), field(1, &numbered));
        assert_eq!(values.encode_to_vec(), field(1, &numbered));
    }

    #[test]
    fn what_later_versions_add_is_passed_over() {
        let later = [reference(), field(9, b"new")].concat();
        let read = ScaledObjectRef::decode(&*later).unwrap();
        assert_eq!(read.scaler_metadata.len(), 1);
    }
}
