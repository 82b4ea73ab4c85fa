//! Orders about a pool, whatever they say: for which pool, by whom, with a body of bounded size, and
//! how one is refused.

use actix_web::HttpRequest;
use actix_web::web::{self, Bytes};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::DeserializeOwned;
use tidepool_core::PoolName;
use tidepool_core::order::ChangeError;

use crate::Shared;
use crate::fleet::find;
use crate::problem::{Code, Fault, Problem};

/// Longest name of an operator, in characters.
const NAME_LEN_MAX: usize = 40;
/// Advice to a caller whose order could not be kept, in seconds.
const RETRY_AFTER_S: u32 = 2;

/// An order that can be understood.
pub(crate) struct Order<T> {
    pub(crate) pool: PoolName,
    pub(crate) by: String,
    /// The body.
    pub(crate) told: T,
}

/// Takes an order for a pool there is; `expected` tells a caller what the body should have been.
pub(crate) async fn take<T: DeserializeOwned>(
    request: &HttpRequest,
    shared: &Shared,
    name: &str,
    (payload, bytes_max, expected): (web::Payload, usize, &str),
) -> Result<Order<T>, Problem> {
    let pool = find(request, shared, name)?.pool;
    let body = body(payload, bytes_max, request).await?;
    let told = serde_json::from_slice(&body).map_err(|error| {
        let detail = format!("the body must be {expected}: {error}");
        Problem::new(Code::BadBody, detail, request)
    })?;
    let by = author(request);
    Ok(Order { pool, by, told })
}

/// A whole body of bounded size.
async fn body(
    payload: web::Payload,
    bytes_max: usize,
    request: &HttpRequest,
) -> Result<Bytes, Problem> {
    match payload.to_bytes_limited(bytes_max).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => Err(Problem::new(Code::BadBody, error.to_string(), request)),
        Err(_too_large) => {
            let detail = format!("this route takes {bytes_max} bytes");
            Err(Problem::new(Code::TooLarge, detail, request))
        }
    }
}

/// A refusal as its caller sees it.
pub(crate) fn refused(error: &ChangeError, request: &HttpRequest) -> Problem {
    let detail = error.to_string();
    match error {
        ChangeError::UnknownPool(_) => Problem::new(Code::UnknownPool, detail, request),
        ChangeError::Invalid { member, message } => invalid(member, message.clone(), request),
        ChangeError::Unavailable(_) => {
            Problem::new(Code::StoreUnavailable, detail, request).retry_after(RETRY_AFTER_S)
        }
    }
}

/// A member of the body that cannot be.
pub(crate) fn invalid(member: &str, message: String, request: &HttpRequest) -> Problem {
    let parameter = member.to_owned();
    Problem::invalid(Fault { parameter, message }, request)
}

/// Who asks: the user name of basic authentication, which a browser lets its user choose, or the
/// address. The token is one for all operators, so this is a courtesy, not a proof.
pub(crate) fn author(request: &HttpRequest) -> String {
    let header = request
        .headers()
        .get(actix_web::http::header::AUTHORIZATION);
    let basic = header
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|encoded| BASE64_STANDARD.decode(encoded).ok())
        .and_then(|pair| String::from_utf8(pair).ok());
    let user = basic.and_then(|pair| Some(pair.split_once(':')?.0.to_owned()));
    let is_name = |user: &String| !user.is_empty() && !user.chars().any(char::is_control);
    let address = || {
        let peer = request.peer_addr();
        peer.map_or_else(
            || "an operator".to_owned(),
            |peer| format!("an operator at {}", peer.ip()),
        )
    };
    user.filter(is_name)
        .map_or_else(address, |user| user.chars().take(NAME_LEN_MAX).collect())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn the_author_is_a_user_or_an_address() {
        let by = |header: &str| {
            let request = TestRequest::patch()
                .insert_header(("authorization", header))
                .peer_addr("10.1.2.3:99".parse().unwrap());
            author(&request.to_http_request())
        };
        assert_eq!(
            by(&format!("Basic {}", BASE64_STANDARD.encode("ann:x"))),
            "ann"
        );
        for anonymous in ["Bearer x", "Basic !", "Basic OngK"] {
            assert_eq!(by(anonymous), "an operator at 10.1.2.3");
        }
    }
}
