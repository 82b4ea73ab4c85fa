//! Names of keys. What belongs together has the same hash tag (`{...}`), hence the same slot.

/// Sorted set of the names of all streams.
pub(super) const INDEX: &str = "tidepool:{streams}:index";

/// State and records of a stream.
pub(super) fn stream_keys(name: &str) -> [String; 2] {
    let tag = tag(name);
    [
        format!("tidepool:{{{tag}}}:meta"),
        format!("tidepool:{{{tag}}}:log"),
    ]
}

/// A key with its value.
pub(super) fn pair_key(name: &str) -> String {
    format!("tidepool:{{{}}}:pair", tag(name))
}

/// Who holds a lease, and its last epoch.
pub(super) fn lease_keys(name: &str) -> [String; 2] {
    let tag = tag(name);
    [
        format!("tidepool:{{{tag}}}:lease"),
        format!("tidepool:{{{tag}}}:epoch"),
    ]
}

/// Braces would end the hash tag early.
fn tag(name: &str) -> String {
    name.replace('%', "%25")
        .replace('{', "%7B")
        .replace('}', "%7D")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn different_names_have_different_keys(a in ".{1,20}", b in ".{1,20}") {
            prop_assert_eq!(a == b, pair_key(&a) == pair_key(&b));
        }

        #[test]
        fn the_hash_tag_is_the_whole_name(name in "[a-z{}%]{1,12}") {
            let [meta, log] = stream_keys(&name);
            let tag = |key: &str| key.split('{').nth(1).unwrap().split('}').next().unwrap().to_owned();
            prop_assert!(!tag(&meta).is_empty());
            prop_assert_eq!(tag(&meta), tag(&log));
            prop_assert_eq!(meta.matches(['{', '}']).count(), 2);
        }
    }
}
