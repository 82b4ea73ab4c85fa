//! Which events somebody wants to see.

use tidepool_core::PoolName;
use tidepool_core::event::TYPE_PREFIX;

use crate::entry::Entry;

/// Longest accepted type, in bytes.
const TYPE_BYTES_MAX: usize = 128;

/// A filter cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a type looks like 'scaling.decided' or 'scaling', with or without the 'io.tidepool.' prefix"
)]
pub struct InvalidFilter;

/// Which events somebody wants to see. The default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Without the prefix.
    kind: Option<String>,
    pool: Option<PoolName>,
}

impl Filter {
    /// Only this type (`scaling.decided`, `io.tidepool.scaling.decided`) or this family of types
    /// (`scaling`, also written `scaling.*`).
    ///
    /// # Errors
    /// When it is no type.
    pub fn of_type(mut self, kind: &str) -> Result<Self, InvalidFilter> {
        let short = kind.strip_prefix(TYPE_PREFIX).unwrap_or(kind);
        let short = short.strip_suffix(".*").unwrap_or(short);
        let is_word = |word: &str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        };
        if short.len() > TYPE_BYTES_MAX || !short.split('.').all(is_word) {
            return Err(InvalidFilter);
        }
        self.kind = Some(short.to_owned());
        Ok(self)
    }

    /// Only events about this pool.
    #[must_use]
    pub fn of_pool(mut self, pool: PoolName) -> Self {
        self.pool = Some(pool);
        self
    }

    /// Whether the event is wanted.
    #[must_use]
    pub fn matches(&self, entry: &Entry) -> bool {
        self.matches_kind(&entry.kind)
            && self
                .pool
                .as_ref()
                .is_none_or(|pool| entry.pool.as_deref() == Some(pool.as_str()))
    }

    fn matches_kind(&self, kind: &str) -> bool {
        let Some(wanted) = &self.kind else {
            return true;
        };
        let short = kind.strip_prefix(TYPE_PREFIX).unwrap_or(kind);
        short
            .strip_prefix(wanted.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_type(kind: &str) -> Filter {
        Filter::default().of_type(kind).unwrap()
    }

    #[test]
    fn takes_a_type_with_and_without_prefix_and_a_family() {
        let event = "io.tidepool.scaling.decided";
        for wanted in [
            "scaling.decided",
            "io.tidepool.scaling.decided",
            "scaling",
            "scaling.*",
            "io.tidepool.scaling",
        ] {
            assert!(by_type(wanted).matches_kind(event), "{wanted}");
        }
        for other in ["scaling.suppressed", "scal", "worker", "decided"] {
            assert!(!by_type(other).matches_kind(event), "{other}");
        }
    }

    #[test]
    fn refuses_what_is_no_type() {
        for bad in ["", ".", "a..b", "Scaling", "a b", "*", &"a".repeat(200)] {
            assert_eq!(Filter::default().of_type(bad), Err(InvalidFilter), "{bad}");
        }
    }

    #[test]
    fn a_pool_must_be_the_same() {
        let entry = |pool: Option<&str>| Entry {
            id: Default::default(),
            kind: "io.tidepool.worker.ready".into(),
            pool: pool.map(str::to_owned),
            json: Default::default(),
        };
        let filter = by_type("worker").of_pool(PoolName::new("echo").unwrap());
        assert!(filter.matches(&entry(Some("echo"))));
        assert!(!filter.matches(&entry(Some("grammar"))));
        assert!(!filter.matches(&entry(None)));
    }
}
