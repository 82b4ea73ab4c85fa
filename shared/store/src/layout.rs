//! How what is stored is laid out, and which releases may still read it: what two releases that share
//! a store must agree on before either touches anything.
//!
//! A change that an older release does not miss (a further field, a further key) keeps the version.
//! Any other change is a new version, which the release before the one that begins to write it must
//! read already: so releases of a rolling upgrade, and a step back, find what they can read.

use std::fmt;

/// A version of the layout, and who can read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// What this release writes.
    pub version: u32,
    /// Releases that write an older layout than this cannot read what this one writes.
    pub oldest_reader: u32,
    /// The oldest layout that this release can read.
    pub reads_from: u32,
}

impl Layout {
    /// That of this release.
    pub const CURRENT: Self = Self {
        version: 1,
        oldest_reader: 1,
        reads_from: 1,
    };

    /// The layout of what was stored by the first release.
    pub(crate) const FIRST: Self = Self {
        version: 1,
        oldest_reader: 1,
        reads_from: 1,
    };

    /// What a release of this layout does with a store that says `found`.
    pub(crate) fn judge(self, found: Option<&str>) -> Verdict {
        let Some(text) = found else {
            return Verdict::Write;
        };
        let Some(found) = Found::parse(text) else {
            return Verdict::Refuse(Mismatch::Unknown(text.chars().take(40).collect()));
        };
        if found.version < self.reads_from {
            return Verdict::Refuse(Mismatch::TooOld { ours: self, found });
        }
        if found.oldest_reader > self.version {
            return Verdict::Refuse(Mismatch::TooNew { ours: self, found });
        }
        if found.version < self.version {
            return Verdict::Write;
        }
        Verdict::GoOn
    }
}

/// As a store keeps it. Words that a later release puts behind are not looked at.
impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "version={} oldest_reader={}",
            self.version, self.oldest_reader
        )
    }
}

/// What to do with a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It is as it should be, or newer and still to be read.
    GoOn,
    /// It says nothing, or something older that this release can read: say ours.
    Write,
    /// Leave it alone.
    Refuse(Mismatch),
}

/// What a store says of its layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    version: u32,
    oldest_reader: u32,
}

impl Found {
    fn parse(text: &str) -> Option<Self> {
        let number = |name: &str| {
            let value = |word: &str| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok();
            text.split_ascii_whitespace().find_map(value)
        };
        Some(Self {
            version: number("version")?,
            oldest_reader: number("oldest_reader")?,
        })
    }
}

/// Why a release cannot use a store, and what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Mismatch {
    /// A later release has written what this one cannot read.
    #[error(
        "its data has layout {}, which releases of layout {} and later can read; this one has layout \
         {}: start a newer release", .found.version, .found.oldest_reader, .ours.version
    )]
    TooNew { ours: Layout, found: Found },
    /// Too many releases lie between.
    #[error(
        "its data has layout {}; this release reads layouts {} to {}: start a release in between first",
        .found.version, .ours.reads_from, .ours.version
    )]
    TooOld { ours: Layout, found: Found },
    /// Not a layout.
    #[error("its data has a layout that this release does not know ('{0}'): start a newer release")]
    Unknown(String),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layout(version: u32, oldest_reader: u32, reads_from: u32) -> Layout {
        Layout {
            version,
            oldest_reader,
            reads_from,
        }
    }

    #[test]
    fn this_release_can_be_stepped_back_from() {
        let ours = Layout::CURRENT;
        assert!(ours.oldest_reader <= ours.version.saturating_sub(1).max(1));
        assert!(ours.reads_from <= ours.version.saturating_sub(1).max(1));
    }

    #[test]
    fn a_new_store_and_an_older_one_are_written() {
        let ours = layout(3, 2, 2);
        assert_eq!(ours.judge(None), Verdict::Write);
        assert_eq!(
            ours.judge(Some("version=2 oldest_reader=1")),
            Verdict::Write
        );
        assert_eq!(ours.judge(Some("version=3 oldest_reader=2")), Verdict::GoOn);
    }

    #[test]
    fn a_newer_one_is_used_while_it_can_be_read() {
        let ours = layout(3, 2, 2);
        let newer = "version=4 oldest_reader=3 and=more";
        assert_eq!(ours.judge(Some(newer)), Verdict::GoOn);
        let Verdict::Refuse(why) = ours.judge(Some("version=5 oldest_reader=4")) else {
            panic!("it cannot be read");
        };
        let text = why.to_string();
        for word in [
            "layout 5",
            "layout 4 and later",
            "layout 3",
            "newer release",
        ] {
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn who_skips_releases_is_told_to_take_one_in_between() {
        let ours = layout(3, 2, 2);
        let Verdict::Refuse(why) = ours.judge(Some("version=1 oldest_reader=1")) else {
            panic!("it cannot be read");
        };
        let text = why.to_string();
        assert!(
            text.contains("layout 1;") && text.contains("2 to 3"),
            "{text}"
        );
        assert!(text.contains("in between"), "{text}");
    }

    #[test]
    fn what_is_no_layout_is_left_alone() {
        for text in [
            "",
            "7",
            "version=1",
            "version=-1 oldest_reader=1",
            "v=1 o=1",
        ] {
            let verdict = Layout::CURRENT.judge(Some(text));
            assert!(
                matches!(verdict, Verdict::Refuse(Mismatch::Unknown(_))),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn neighbours_share_a_store_in_either_order(version in 1_u32..1_000) {
            // Each release reads its own layout and the one before, and can be read by that.
            let before = layout(version, version.saturating_sub(1).max(1), version.saturating_sub(1).max(1));
            let after = layout(version + 1, version, version);
            prop_assert_eq!(after.judge(Some(&before.to_string())), Verdict::Write);
            prop_assert_eq!(before.judge(Some(&after.to_string())), Verdict::GoOn);
            prop_assert_eq!(after.judge(Some(&after.to_string())), Verdict::GoOn);
        }
    }
}
