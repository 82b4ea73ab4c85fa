//! Looks up one member of a body without reading the rest of it into memory.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::payload::{Format, Payload, msgpack_deserializer};

/// Finds a text under a name at the top level.
struct Member<'n>(&'n str);

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            if name == self.0 && found.is_none() {
                found = map.next_value_seed(Text)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// A text, or nothing for any other value.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // Anything may stand there: whether it fits is for the handler to say.
        let value = serde::Deserialize::deserialize(deserializer)?;
        Ok(match value {
            serde_json::Value::String(text) => Some(text),
            _ => None,
        })
    }
}

impl Payload {
    /// The text that the top-level member `name` holds. Nothing if there is none, or if the body
    /// cannot be read: whoever serves it says why.
    #[must_use]
    pub fn text_member(&self, name: &str) -> Option<String> {
        match self.format {
            Format::Json => serde_json::Deserializer::from_slice(&self.bytes)
                .deserialize_map(Member(name))
                .ok()?,
            Format::MsgPack => msgpack_deserializer(&self.bytes)
                .deserialize_map(Member(name))
                .ok()?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_text_at_the_top_level_and_nothing_else() {
        let json = |text: &str| Payload::new(Format::Json, text.to_owned());
        let found = |text: &str| json(text).text_member("namespace");
        assert_eq!(
            found(r#"{"op":1,"namespace":"n","x":[{}]}"#).as_deref(),
            Some("n")
        );
        for none in [
            r#"{"op":{"namespace":"inner"}}"#,
            r#"{"namespace":7}"#,
            r#"["namespace"]"#,
            r#"{"namespace":"n""#,
            "",
        ] {
            assert_eq!(found(none), None, "{none}");
        }
        let packed = json(r#"{"a":1,"namespace":"n"}"#)
            .transcode(Format::MsgPack)
            .unwrap();
        assert_eq!(packed.text_member("namespace").as_deref(), Some("n"));
    }
}
