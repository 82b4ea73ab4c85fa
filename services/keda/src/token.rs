//! Who may ask. KEDA sends no header of its own, but passes on what its trigger says, and resolves
//! keys that end in `FromEnv` from the environment of the workload that it scales: that is how it
//! can carry a token that is written in no manifest. Other clients send `Authorization: Bearer`.

use std::collections::HashMap;

use subtle::ConstantTimeEq;
use tonic::Status;
use tonic::metadata::MetadataMap;

/// Key of the scaler's metadata that carries the token.
const TOKEN_KEY: &str = "tokenFromEnv";
/// The scheme of `Authorization`.
const SCHEME: &str = "bearer ";

/// What callers have to show, if anything. Never printed; compared in constant time.
#[derive(Clone)]
pub(crate) struct Guard(Option<String>);

impl Guard {
    pub(crate) fn new(token: Option<String>) -> Self {
        Self(token)
    }

    /// Lets a caller in.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when a token is demanded and not shown.
    pub(crate) fn admit(
        &self,
        headers: &MetadataMap,
        scaler: &HashMap<String, String>,
    ) -> Result<(), Status> {
        let Some(token) = &self.0 else {
            return Ok(());
        };
        let is_token = |given: &[u8]| bool::from(given.ct_eq(token.as_bytes()));
        let header = headers.get("authorization").map(|value| value.as_bytes());
        let by_header = header.and_then(bearer).is_some_and(is_token);
        let by_metadata = scaler
            .get(TOKEN_KEY)
            .is_some_and(|given| is_token(given.as_bytes()));
        if by_header || by_metadata {
            return Ok(());
        }
        Err(Status::unauthenticated(format!(
            "the operator token is needed: let the trigger's metadata say `{TOKEN_KEY}: NAME`, \
             NAME being a variable of the scaled workload, or send `authorization: Bearer`"
        )))
    }
}

fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = header.split_at_checked(SCHEME.len())?;
    scheme
        .eq_ignore_ascii_case(SCHEME.as_bytes())
        .then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(guard: &Guard, header: Option<&str>, metadata: Option<(&str, &str)>) -> bool {
        let mut headers = MetadataMap::new();
        if let Some(header) = header {
            headers.insert("authorization", header.parse().unwrap());
        }
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let admitted = guard.admit(&headers, &metadata.into_iter().collect());
        if let Err(status) = &admitted {
            assert_eq!(status.code(), tonic::Code::Unauthenticated);
            assert!(!status.message().contains("secret"));
        }
        admitted.is_ok()
    }

    #[test]
    fn only_the_token_opens_and_either_way_carries_it() {
        let guard = Guard::new(Some("secret".to_owned()));
        assert!(admitted(&guard, Some("Bearer secret"), None));
        assert!(admitted(&guard, None, Some(("tokenFromEnv", "secret"))));
        for (header, metadata) in [
            (None, None),
            (Some("Bearer"), None),
            (Some("Bearer secret "), None),
            (Some("Basic secret"), None),
            (Some("secret"), None),
            (None, Some(("tokenFromEnv", ""))),
            (None, Some(("tokenFromEnv", "secre"))),
            (None, Some(("token", "secret"))),
        ] {
            assert!(
                !admitted(&guard, header, metadata),
                "{header:?} {metadata:?}"
            );
        }
        assert!(admitted(&Guard::new(None), None, None));
    }
}
