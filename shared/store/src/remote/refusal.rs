//! What the server's error answers mean, and what to do about them.

use redis::{ErrorKind, RedisError};

use crate::error::StoreError;

/// The code of our own answer about a layout that cannot be read.
pub(super) const LAYOUT_CODE: &str = "LAYOUT";
/// Longest text of the server that is passed on, in characters.
const TEXT_LEN_MAX: usize = 200;

/// What an error answer means for the operations after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    /// The server is not there, or of no use for anything now.
    Away,
    /// Only operations like this one fail.
    Refused,
    /// As `Refused`; another connection may lead to another server.
    Moved,
}

struct Rule {
    code: &'static str,
    effect: Effect,
    /// Whether it may pass without anybody's doing.
    passes: bool,
    advice: &'static str,
}

const fn rule(code: &'static str, effect: Effect, passes: bool, advice: &'static str) -> Rule {
    Rule {
        code,
        effect,
        passes,
        advice,
    }
}

/// Error codes of Redis up to version 8.
const RULES: [Rule; 15] = [
    rule(
        "LOADING",
        Effect::Away,
        true,
        "it is still reading its data from disk; it will answer when it has",
    ),
    rule(
        "MASTERDOWN",
        Effect::Away,
        true,
        "this is a replica that has lost its primary; point the URL at the primary",
    ),
    rule(
        "CLUSTERDOWN",
        Effect::Away,
        true,
        "the cluster does not serve all slots; look at CLUSTER INFO",
    ),
    rule(
        "NOAUTH",
        Effect::Away,
        false,
        "it wants a password: put it into the URL, redis://user:password@host:port/",
    ),
    rule(
        "WRONGPASS",
        Effect::Away,
        false,
        "user or password are wrong: correct them in the URL",
    ),
    rule(
        "READONLY",
        Effect::Moved,
        true,
        "this is a read-only replica, perhaps after a failover: point the URL at the primary",
    ),
    rule(
        "MOVED",
        Effect::Refused,
        false,
        "this is one node of a cluster, which is not supported: use a server that is none, or a proxy",
    ),
    rule(
        "ASK",
        Effect::Refused,
        false,
        "this is one node of a cluster, which is not supported: use a server that is none, or a proxy",
    ),
    rule(
        "CROSSSLOT",
        Effect::Refused,
        false,
        "this is a cluster, which is not supported: use a server that is none",
    ),
    rule(
        "NOPERM",
        Effect::Refused,
        false,
        "the user may not do that: give it the rights listed in shared/README.md",
    ),
    rule(
        "OOM",
        Effect::Refused,
        true,
        "its memory is full: raise maxmemory, or delete what is not needed",
    ),
    rule(
        "MISCONF",
        Effect::Refused,
        true,
        "it cannot save to disk: make space, and look at its log",
    ),
    rule(
        "NOREPLICAS",
        Effect::Refused,
        true,
        "too few replicas are connected (min-replicas-to-write)",
    ),
    rule(
        "BUSY",
        Effect::Refused,
        true,
        "it runs a script that does not end: SCRIPT KILL ends it",
    ),
    rule(
        "UNKILLABLE",
        Effect::Refused,
        true,
        "it runs a script that cannot be ended: SHUTDOWN NOSAVE is all that is left",
    ),
];

/// Whether the server is there, and only this operation is not to be had.
pub(super) fn is_refused(error: &RedisError) -> bool {
    explain(error).0 != Effect::Away
}

/// What an error means for this operation and for those after it.
pub(super) fn explain(error: &RedisError) -> (Effect, StoreError) {
    if error.code() == Some(LAYOUT_CODE) {
        let reason = error.detail().unwrap_or_default().to_owned();
        let backend = "redis";
        return (Effect::Away, StoreError::Incompatible { backend, reason });
    }
    let text: String = error.to_string().chars().take(TEXT_LEN_MAX).collect();
    match rule_for(error, &text) {
        Some(rule) => {
            let reason = format!("{} ({text}): {}", rule.code, rule.advice);
            (rule.effect, as_error(rule.passes, reason))
        }
        // The connection broke, or never was.
        None if error.code().is_none() => (Effect::Away, as_error(true, text)),
        None => (Effect::Refused, as_error(true, text)),
    }
}

/// A script passes on what its commands were told, in front or within its own words, depending on
/// the version of the server.
fn rule_for(error: &RedisError, text: &str) -> Option<&'static Rule> {
    let by_code = |code: &str| RULES.iter().find(|rule| rule.code == code);
    if let Some(rule) = error.code().and_then(by_code) {
        return Some(rule);
    }
    if error.kind() == ErrorKind::AuthenticationFailed {
        let code = if text.contains("NOAUTH") {
            "NOAUTH"
        } else {
            "WRONGPASS"
        };
        return by_code(code);
    }
    if text.contains("ACL failure in script") || text.contains("The user executing the script") {
        return by_code("NOPERM");
    }
    let is_word = |word: &&str| word.len() > 2 && word.bytes().all(|b| b.is_ascii_uppercase());
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(is_word)
        .find_map(by_code)
}

fn as_error(passes: bool, reason: String) -> StoreError {
    let backend = "redis";
    if passes {
        StoreError::Unavailable { backend, reason }
    } else {
        StoreError::Refused { backend, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::{Value, from_redis_value};

    /// The error that an answer of the server becomes.
    fn answered(line: &str) -> RedisError {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        let Value::ServerError(error) = value else {
            panic!("{value:?} for {line}");
        };
        let error: RedisError = error.into();
        assert!(from_redis_value::<u64>(Value::Nil).is_err());
        error
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        let lines = [
            (
                "READONLY You can't write against a read only replica.",
                Effect::Moved,
                true,
                "primary",
            ),
            (
                "MOVED 3999 127.0.0.1:6381",
                Effect::Refused,
                false,
                "cluster",
            ),
            ("ASK 3999 127.0.0.1:6381", Effect::Refused, false, "cluster"),
            (
                "LOADING Redis is loading the dataset in memory",
                Effect::Away,
                true,
                "disk",
            ),
            (
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
                Effect::Away,
                true,
                "primary",
            ),
            (
                "NOAUTH Authentication required.",
                Effect::Away,
                false,
                "password",
            ),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                Effect::Away,
                false,
                "wrong",
            ),
            (
                "NOPERM this user has no permissions to run the 'xadd' command",
                Effect::Refused,
                false,
                "shared/README.md",
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                Effect::Refused,
                true,
                "maxmemory",
            ),
            (
                "ERR Error running script (call to f_1): @user_script:3: -OOM command not allowed",
                Effect::Refused,
                true,
                "maxmemory",
            ),
            (
                "ERR The user executing the script can't run this command: ACL failure in script",
                Effect::Refused,
                false,
                "shared/README.md",
            ),
            ("ERR something new", Effect::Refused, true, "something new"),
        ];
        for (line, effect, is_retryable, word) in lines {
            let (found, error) = explain(&answered(line));
            assert_eq!(found, effect, "{line}");
            assert_eq!(error.is_retryable(), is_retryable, "{line}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn a_broken_connection_means_away() {
        let broken = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let (effect, error) = explain(&broken.into());
        assert_eq!(effect, Effect::Away);
        assert!(error.is_retryable());
    }

    #[test]
    fn long_answers_are_cut() {
        let (_, error) = explain(&answered(&format!("ERR {}", "x".repeat(5_000))));
        assert!(error.to_string().len() < 2 * TEXT_LEN_MAX);
    }
}
