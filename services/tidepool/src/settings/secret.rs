//! Values that must never reach a log, an error or `config show`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

/// What is printed in place of a secret.
pub(crate) const MASK: &str = "***";

/// A secret: printing or serializing it gives [`MASK`].
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    /// Takes a text into custody.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that needs it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

/// The address of a Redis server: printing or serializing it hides its password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct RedisUrl(String);

impl RedisUrl {
    /// Takes an address.
    pub(crate) fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The address with its password, for the client that connects.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// The address as it may be shown: user information and query are where passwords are.
    fn masked(&self) -> Cow<'_, str> {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return Cow::Borrowed(MASK);
        };
        let (rest, query) = match rest.split_once('?') {
            Some((rest, _)) => (rest, "?***"),
            None => (rest, ""),
        };
        // The last '@': a password may hold one that its author forgot to encode.
        match rest.rsplit_once('@') {
            Some((_, host)) => Cow::Owned(format!("{scheme}://{MASK}@{host}{query}")),
            None => Cow::Owned(format!("{scheme}://{rest}{query}")),
        }
    }
}

macro_rules! masked_type {
    ($name:ident, $schema_name:literal, |$this:ident| $masked:expr) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let $this = self;
                f.write_str(&$masked)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                $schema_name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "writeOnly": true })
            }
        }
    };
}

masked_type!(Secret, "Secret", |_secret| MASK);
masked_type!(RedisUrl, "RedisUrl", |url| url.masked());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(serde_json::to_string(&secret).unwrap(), r#""***""#);
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_redis_url_prints_without_its_password() {
        for (url, shown) in [
            ("redis://h:6379/1", "redis://h:6379/1"),
            ("redis://:pw@h:6379", "redis://***@h:6379"),
            ("redis://u:p@w@h", "redis://***@h"),
            (
                "unix:///run/redis.sock?pass=pw",
                "unix:///run/redis.sock?***",
            ),
            ("pw@h", "***"),
        ] {
            let url = RedisUrl::new(url);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
        }
    }
}
