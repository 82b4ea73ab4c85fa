//! Where a running process can be called: what somebody typed, or what it listens on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;

/// An address cannot be called.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{address}' cannot be called: {problem}")]
pub(crate) struct AddressError {
    /// As it was given.
    address: String,
    /// What is wrong with it, and what would do.
    problem: &'static str,
}

/// The URL of a listener: what was typed, or else where the configuration has it listen.
///
/// # Errors
/// When it is no HTTP address, or the port is known to the running process only.
pub(crate) fn base_url(typed: Option<&str>, listens_on: SocketAddr) -> Result<Url, AddressError> {
    match typed {
        Some(address) => parse(address),
        None => parse(&callable(listens_on)?),
    }
}

fn parse(address: &str) -> Result<Url, AddressError> {
    let text = if address.contains("://") {
        address.to_owned()
    } else {
        format!("http://{address}")
    };
    let bad = |problem| AddressError {
        address: address.to_owned(),
        problem,
    };
    match Url::parse(&text) {
        Ok(url) if url.scheme() == "http" && url.has_host() => Ok(url),
        Ok(url) if url.scheme() == "https" => {
            Err(bad("this client speaks plain HTTP; call it where TLS ends"))
        }
        _ => Err(bad("it must be HOST:PORT, such as 127.0.0.1:8701")),
    }
}

/// Where to call a process that listens on `addr`.
fn callable(addr: SocketAddr) -> Result<String, AddressError> {
    let ip = match addr.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    match addr.port() {
        0 => Err(AddressError {
            address: addr.to_string(),
            problem: "port 0 means any free port; name the one that tidepool printed as it \
                      started, with --api-addr or --operator-addr",
        }),
        port => Ok(SocketAddr::new(ip, port).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_becomes_a_url() {
        for (address, url) in [
            ("127.0.0.1:8701", "http://127.0.0.1:8701/"),
            ("[::1]:8701", "http://[::1]:8701/"),
            ("http://tide.example/ops", "http://tide.example/ops"),
        ] {
            assert_eq!(parse(address).unwrap().as_str(), url);
        }
        for address in ["", "https://h:1", "ftp://h", "a b"] {
            assert!(parse(address).is_err(), "{address}");
        }
    }

    #[test]
    fn an_address_to_bind_becomes_one_to_call() {
        let called = |addr: &str| callable(addr.parse().unwrap());
        assert_eq!(called("0.0.0.0:8701").unwrap(), "127.0.0.1:8701");
        assert_eq!(called("[::]:8701").unwrap(), "[::1]:8701");
        assert_eq!(called("10.0.0.5:1").unwrap(), "10.0.0.5:1");
        assert!(called("127.0.0.1:0").is_err());
    }
}
