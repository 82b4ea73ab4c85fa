//! Names and identities. Names that users choose are validated once, here, and trusted after.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest accepted name of a kind or a pool, in bytes.
pub const NAME_LEN_MAX: usize = 63;

/// A name is not usable as a kind or pool name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a valid name: use 1 to 63 lower-case letters, digits, '-' or '_', starting with a letter"
)]
pub struct InvalidName(pub String);

fn is_valid_name(name: &str) -> bool {
    name.len() <= NAME_LEN_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Validates and wraps a name.
            ///
            /// # Errors
            /// When the name is empty, too long, or has other characters than
            /// lower-case letters, digits, `-` and `_`.
            pub fn new(name: &str) -> Result<Self, InvalidName> {
                if is_valid_name(name) {
                    Ok(Self(name.into()))
                } else {
                    Err(InvalidName(name.chars().take(80).collect()))
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(name: &str) -> Result<Self, Self::Err> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(name: String) -> Result<Self, Self::Error> {
                Self::new(&name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name_type! {
    /// What a request asks for, such as `grammar`.
    Kind
}
name_type! {
    /// A pool: the workers of one handler; the unit that is scaled, queued and configured.
    PoolName
}
name_type! {
    /// A process that hosts workers.
    NodeId
}

/// One worker, unique within a running system: `<pool>-<n>` with `n` never reused by a process,
/// and `@<node>` behind it where there are several nodes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(Arc<str>);

impl WorkerId {
    /// The id of the `n`-th worker that this process started for `pool`.
    #[must_use]
    pub fn new(pool: &PoolName, n: u64) -> Self {
        Self(format!("{pool}-{n}").into())
    }

    /// The id of the `n`-th worker that a node started for `pool`, where there are several nodes.
    #[must_use]
    pub fn on_node(pool: &PoolName, n: u64, node: &NodeId) -> Self {
        Self(format!("{pool}-{n}@{node}").into())
    }

    /// Reads an id that somebody typed; whether such a worker exists is for the fleet to say.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One request, as echoed in `X-Request-Id`: a version-7 UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub uuid::Uuid);

impl RequestId {
    /// The id as it stands in headers; cheaper than formatting it.
    #[must_use]
    pub fn to_text(self) -> String {
        let mut buffer = uuid::Uuid::encode_buffer();
        self.0.as_hyphenated().encode_lower(&mut buffer).to_owned()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// Urgency of a request as in RFC 9218: 0 is the most urgent, 7 the least, 3 the default.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Priority(u8);

/// Number of classes that the queue tells apart.
pub const PRIORITY_CLASSES: usize = 3;

impl Priority {
    /// An urgency of 0 to 7; anything above is the least urgent.
    #[must_use]
    pub fn new(urgency: u8) -> Self {
        Self(urgency.min(7))
    }

    /// The urgency, 0 to 7.
    #[must_use]
    pub fn urgency(self) -> u8 {
        self.0
    }

    /// The queue class: urgencies 0-1, 2-4 and 5-7 are served before one another.
    #[must_use]
    pub fn class(self) -> usize {
        match self.0 {
            0 | 1 => 0,
            2..=4 => 1,
            _ => 2,
        }
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_validated() {
        for good in ["echo", "a", "my-handler_2"] {
            assert!(Kind::new(good).is_ok(), "{good}");
        }
        let long = "a".repeat(NAME_LEN_MAX + 1);
        for bad in ["", "Echo", "1echo", "a b", "a/b", "é", long.as_str()] {
            assert!(Kind::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn urgencies_fall_into_three_classes() {
        let classes: Vec<usize> = (0..=9).map(|u| Priority::new(u).class()).collect();
        assert_eq!(classes, [0, 0, 1, 1, 1, 2, 2, 2, 2, 2]);
    }
}
