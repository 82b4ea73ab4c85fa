//! Names of keys. What belongs together has the same hash tag (`{...}`), hence the same slot.

/// Sorted set of the names of all streams.
pub(super) const INDEX: &str = "tidepool:{streams}:index";

/// What layout the rest of the keys have.
pub(super) const LAYOUT: &str = "tidepool:{layout}:version";

/// State and records of a stream.
pub(super) fn stream_keys(name: &str) -> [String; 2] {
    let tag = tag(name);
    [
        format!("tidepool:{{{tag}}}:meta"),
        format!("tidepool:{{{tag}}}:log"),
    ]
}

/// A key with its value, and the epoch of its fenced writers.
pub(super) fn pair_keys(name: &str) -> [String; 2] {
    let tag = tag(name);
    [
        format!("tidepool:{{{tag}}}:pair"),
        format!("tidepool:{{{tag}}}:fence"),
    ]
}

/// Documents of a group's members, and until when they count.
pub(super) fn group_keys(name: &str) -> [String; 2] {
    let tag = tag(name);
    [
        format!("tidepool:{{{tag}}}:members"),
        format!("tidepool:{{{tag}}}:until"),
    ]
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

    /// Slot of a key in Redis Cluster: CRC16 (XMODEM) of what is between the first `{` and the next
    /// `}`, or of the whole key when there is nothing, modulo 16,384.
    /// <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>
    fn slot(key: &str) -> u16 {
        let tag = key
            .split_once('{')
            .and_then(|(_, rest)| rest.split_once('}'))
            .map(|(tag, _)| tag)
            .filter(|tag| !tag.is_empty());
        let crc = tag.unwrap_or(key).bytes().fold(0_u16, |crc, byte| {
            (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
                (crc << 1) ^ (0x1021 * (crc >> 15))
            })
        });
        crc % 16_384
    }

    /// The keys of every script, by family.
    fn families(name: &str) -> [[String; 2]; 4] {
        [
            stream_keys(name),
            pair_keys(name),
            lease_keys(name),
            group_keys(name),
        ]
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot("123456789"), 0x31C3);
        assert_eq!(slot("{user1000}.following"), slot("{user1000}.followers"));
        assert_eq!(slot("foo{}{bar}"), slot("foo{}{bar}"));
        assert_ne!(slot("foo{}{bar}"), slot("bar"));
        assert_eq!(slot("foo{{bar}}zap"), slot("{bar"));
    }

    proptest! {
        #[test]
        fn different_names_have_different_keys(a in ".{1,20}", b in ".{1,20}") {
            let (ours, theirs) = (families(&a), families(&b));
            prop_assert_eq!(a == b, ours.iter().flatten().any(|key| theirs.iter().flatten().any(|other| key == other)));
        }

        #[test]
        fn what_a_script_touches_is_in_one_slot(name in "(.|[a-z{}%]){1,12}") {
            for keys in families(&name) {
                prop_assert_eq!(slot(&keys[0]), slot(&keys[1]), "{:?}", keys);
                prop_assert_ne!(&keys[0], &keys[1]);
            }
        }

        #[test]
        fn the_hash_tag_is_the_whole_name(name in "[a-z{}%]{1,12}") {
            for key in families(&name).iter().flatten() {
                let whole = key.split('{').nth(1).unwrap().split('}').next().unwrap();
                prop_assert_eq!(whole, tag(&name));
                prop_assert_eq!(key.matches(['{', '}']).count(), 2);
            }
        }
    }
}
