//! Numbers as they are stored: nine significant digits, which any JSON reader returns exactly, so
//! that a pattern that is stored, loaded and stored again stays the same to the last byte.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number with nine significant digits.
pub(crate) fn rounded(value: f64) -> f64 {
    format!("{value:.8e}").parse().unwrap_or(value)
}

/// For `#[serde(with = "stored")]` on a number.
pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    rounded(*value).serialize(serializer)
}

/// The counterpart of [`serialize`].
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    f64::deserialize(deserializer)
}

/// The same for a number that may be absent.
pub(crate) mod option {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(rounded).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f64>, D::Error> {
        Option::deserialize(deserializer)
    }
}

/// The same for a list of fixed length.
pub(crate) mod array {
    use serde::de::Error as _;

    use super::*;

    pub(crate) fn serialize<S: Serializer, const N: usize>(
        values: &[f64; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.map(rounded))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[f64; N], D::Error> {
        let values = Vec::<f64>::deserialize(deserializer)?;
        let count = values.len();
        let wrong = |_| D::Error::custom(format!("{count} numbers instead of {N}"));
        values.try_into().map_err(wrong)
    }
}

/// The same for a long list that is mostly zeros: pairs of place and value.
pub(crate) mod sparse {
    use serde::de::Error as _;

    use super::*;
    use crate::residual::BUCKETS;

    pub(crate) fn serialize<S: Serializer>(
        values: &[f64],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let places = values.iter().enumerate();
        let filled = places.filter(|(_, value)| **value != 0.0);
        serializer.collect_seq(filled.map(|(place, value)| (place, rounded(*value))))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<f64>, D::Error> {
        let mut values = vec![0.0; BUCKETS];
        for (place, value) in Vec::<(usize, f64)>::deserialize(deserializer)? {
            let slot = values.get_mut(place);
            *slot.ok_or_else(|| {
                D::Error::custom(format!("bucket {place} of a histogram of {BUCKETS}"))
            })? = value;
        }
        Ok(values)
    }
}
