//! Whether a caller may come in.

use actix_web::http::header::HeaderValue;
use subtle::ConstantTimeEq;

use super::problem::{Code, Problem};

/// Compares the bearer token in constant time; without a configured token everybody may.
pub(crate) fn check(given: Option<&HeaderValue>, token: Option<&str>) -> Result<(), Problem> {
    let Some(token) = token else { return Ok(()) };
    let given = given.and_then(|value| {
        let value = value.as_bytes();
        let (scheme, rest) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(rest)
    });
    let matches = given.is_some_and(|given| bool::from(given.ct_eq(token.as_bytes())));
    if matches {
        return Ok(());
    }
    let detail = if given.is_some() {
        "the token is not valid"
    } else {
        "no token was sent"
    };
    Err(Problem::new(Code::Unauthorized, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_bearer_token_opens() {
        let allowed = |value: Option<&'static str>| {
            let value = value.map(HeaderValue::from_static);
            check(value.as_ref(), Some("secret")).is_ok()
        };
        assert!(allowed(Some("Bearer secret")) && allowed(Some("bearer secret")));
        for bad in [
            None,
            Some("Bearer secre"),
            Some("Bearer secret "),
            Some("Basic secret"),
            Some(""),
        ] {
            assert!(!allowed(bad), "{bad:?}");
        }
        assert!(check(None, None).is_ok());
    }
}
