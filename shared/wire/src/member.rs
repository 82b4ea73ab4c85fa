//! Looks up members of a body without reading the rest of it into memory.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::payload::{Format, Payload, msgpack_deserializer};

/// Finds the texts under some names at the top level.
struct Members<'n, const N: usize>([Option<&'n str>; N]);

impl<'de, const N: usize> Visitor<'de> for Members<'_, N> {
    type Value = [Option<String>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [const { None }; N];
        while let Some(name) = map.next_key::<String>()? {
            // Of several with one name the last counts, as for those who read the whole body.
            match self.0.iter().position(|wanted| *wanted == Some(&name)) {
                Some(n) => found[n] = map.next_value_seed(Text)?,
                None => drop(map.next_value::<IgnoredAny>()?),
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
    /// The texts that the top-level members of these names hold. Nothing where there is none, or if
    /// the body cannot be read: whoever serves it says why.
    #[must_use]
    pub fn text_members<const N: usize>(&self, names: [Option<&str>; N]) -> [Option<String>; N] {
        let found = match self.format {
            Format::Json => serde_json::Deserializer::from_slice(&self.bytes)
                .deserialize_map(Members(names))
                .ok(),
            Format::MsgPack => msgpack_deserializer(&self.bytes)
                .deserialize_map(Members(names))
                .ok(),
        };
        found.unwrap_or([const { None }; N])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_text_at_the_top_level_and_nothing_else() {
        let json = |text: &str| Payload::new(Format::Json, text.to_owned());
        let member = |payload: Payload| {
            let [found] = payload.text_members([Some("namespace")]);
            found
        };
        let found = |text: &str| member(json(text));
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
        assert_eq!(member(packed).as_deref(), Some("n"));
    }

    #[test]
    fn finds_several_at_once_and_the_last_of_a_name() {
        let body = r#"{"op":"recall","":"x","namespace":"n","op":"store"}"#;
        let payload = Payload::new(Format::Json, body.to_owned());
        let found = payload.text_members([Some("op"), None, Some("namespace")]);
        let found = found.each_ref().map(Option::as_deref);
        assert_eq!(found, [Some("store"), None, Some("n")]);
        let twice = r#"{"op":"recall","op":7}"#;
        let payload = Payload::new(Format::Json, twice.to_owned());
        assert_eq!(payload.text_members([Some("op")]), [None]);
    }
}
