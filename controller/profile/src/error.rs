//! What can be wrong with a configuration or a stored pattern.

/// Why a pattern could not be made or loaded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The time zone is not in the IANA database.
    #[error("no time zone is called `{name}`: use an IANA name such as `Europe/Berlin` or `UTC`")]
    Zone {
        /// What was asked for.
        name: String,
    },
    /// A setting is out of its range.
    #[error("`{field}` is {value}, but must be within {range}")]
    Setting {
        /// Name of the setting.
        field: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
    /// A calendar entry cannot be used.
    #[error("calendar entry `{entry}`: {why}")]
    Calendar {
        /// The date as written.
        entry: String,
        /// What is wrong with it.
        why: String,
    },
    /// A stored pattern was written by something newer.
    #[error(
        "the pattern has version {found}, this program reads 1 to {newest}: \
         load it with the program that wrote it, or set it aside and learn anew"
    )]
    Version {
        /// Version of the document.
        found: u32,
        /// Newest version that can be read.
        newest: u32,
    },
    /// A field of a stored pattern holds what no pattern can hold.
    #[error("the stored pattern is corrupt at `{field}`: {why}; set it aside and learn anew")]
    Corrupt {
        /// Path of the field, such as `week[17].weight`.
        field: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    pub(crate) fn corrupt(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Corrupt {
            field: field.into(),
            why: why.into(),
        }
    }
}
