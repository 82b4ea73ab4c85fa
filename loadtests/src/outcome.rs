//! How a request ended, in a bounded set of names.

use std::borrow::Cow;

/// Longest problem code that is kept; codes are short names.
const CODE_BYTES_MAX: usize = 48;

/// How a request ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    /// HTTP status; absent when there was no answer.
    pub(crate) status: Option<u16>,
    /// The problem's code, or why there was no answer; empty for an answer that is no problem.
    pub(crate) code: Cow<'static, str>,
}

/// What an outcome means to the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// A 2xx answer.
    Ok,
    /// 429 or 503: told to come back later.
    Refused,
    /// Everything else, no answer included.
    Error,
}

impl Outcome {
    /// An answer, with the code of its problem if it is one.
    pub(crate) fn answered(status: u16, code: Option<&str>) -> Self {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let code = match code {
            None => Cow::Borrowed(""),
            Some(code) if code.len() <= CODE_BYTES_MAX && code.chars().all(is_name) => {
                Cow::Owned(code.to_owned())
            }
            Some(_) => Cow::Borrowed("invalid-code"),
        };
        Self {
            status: Some(status),
            code,
        }
    }

    /// No answer, and why.
    pub(crate) fn lost(why: &'static str) -> Self {
        Self {
            status: None,
            code: Cow::Borrowed(why),
        }
    }

    /// Stands for outcomes beyond the bound of a report.
    pub(crate) fn other(class: Class) -> Self {
        Self {
            status: match class {
                Class::Ok => Some(299),
                Class::Refused => Some(503),
                Class::Error => None,
            },
            code: Cow::Borrowed("other"),
        }
    }

    pub(crate) fn class(&self) -> Class {
        match self.status {
            Some(200..=299) => Class::Ok,
            Some(429 | 503) => Class::Refused,
            _ => Class::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_from_errors() {
        assert_eq!(Outcome::answered(200, None).class(), Class::Ok);
        assert_eq!(
            Outcome::answered(429, Some("quota")).class(),
            Class::Refused
        );
        assert_eq!(
            Outcome::answered(503, Some("overloaded")).class(),
            Class::Refused
        );
        assert_eq!(
            Outcome::answered(504, Some("deadline")).class(),
            Class::Error
        );
        assert_eq!(Outcome::answered(404, None).class(), Class::Error);
        assert_eq!(Outcome::lost("timeout").class(), Class::Error);
    }

    #[test]
    fn codes_that_are_no_names_are_not_kept() {
        let long = "x".repeat(100);
        for code in ["has blanks", "\u{1b}[31m", &long] {
            assert_eq!(Outcome::answered(500, Some(code)).code, "invalid-code");
        }
    }

    #[test]
    fn the_stand_in_keeps_its_class() {
        for class in [Class::Ok, Class::Refused, Class::Error] {
            assert_eq!(Outcome::other(class).class(), class);
        }
    }
}
