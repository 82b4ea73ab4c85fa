//! Where one process sends the asker: at most once, only to an address that can be told from a URL with
//! more in it, and never to this machine on the word of another one.

use std::net::IpAddr;

use reqwest::Url;
use tidepool_core::status::Referral;

use crate::terminal::harmless;

/// Another process can answer, and is not asked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Astray {
    /// Nobody can be asked.
    #[error("{from} cannot answer this and names nobody who can: {detail}")]
    NobodyNamed {
        /// Who was asked.
        from: String,
        /// What it said.
        detail: String,
    },
    /// Whoever was named sends the asker on.
    #[error("{from} was named as the one to ask, and cannot answer either: {detail}")]
    InCircles {
        /// Who was asked last.
        from: String,
        /// What it said.
        detail: String,
    },
    /// The name is no address, or not one to go to.
    #[error("{from} names '{addr}' as the one to ask, {problem}")]
    NotToBeAsked {
        /// Who was asked.
        from: String,
        /// Whom it named.
        addr: String,
        /// What is wrong with that.
        problem: &'static str,
    },
}

/// The URL of whom `base` names. What is sent there, a token too, goes the way it came: by the same
/// scheme.
pub(super) fn referred_to(base: &Url, referral: &Referral) -> Result<Url, Astray> {
    let from = || base.authority().to_owned();
    let Some(addr) = referral.operator_addr.as_deref() else {
        return Err(Astray::NobodyNamed {
            from: from(),
            detail: harmless(&referral.detail),
        });
    };
    let astray = |problem| Astray::NotToBeAsked {
        from: from(),
        addr: harmless(addr),
        problem,
    };
    let url = parse(base.scheme(), addr).ok_or_else(|| astray("which is no HOST:PORT"))?;
    if is_here(&url) && !is_here(base) {
        return Err(astray(
            "which is this machine from here: http.operator_advertise_addr of that process has to \
             name an address that others can call",
        ));
    }
    Ok(url)
}

fn parse(scheme: &str, addr: &str) -> Option<Url> {
    let (host, port) = addr.rsplit_once(':')?;
    let is_plain = !host.is_empty() && !host.contains(['/', '\\', '@', '?', '#', ' ']);
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    let url = (is_plain && is_port).then(|| Url::parse(&format!("{scheme}://{addr}/")))?;
    url.ok().filter(Url::has_host)
}

fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    host == "localhost" || ip.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(base: &str, addr: Option<&str>) -> Result<String, Astray> {
        let referral = Referral {
            detail: "one leads".to_owned(),
            operator_addr: addr.map(str::to_owned),
        };
        referred_to(&Url::parse(base).unwrap(), &referral).map(|url| url.to_string())
    }

    #[test]
    fn only_a_plain_address_is_followed_and_by_the_same_scheme() {
        let base = "http://127.0.0.1:8701/ops";
        for (addr, url) in [
            ("127.0.0.1:9000", "http://127.0.0.1:9000/"),
            ("[::1]:9000", "http://[::1]:9000/"),
            ("one.example:8701", "http://one.example:8701/"),
        ] {
            assert_eq!(next(base, Some(addr)).unwrap(), url);
        }
        let secure = next("https://tide.example/ops", Some("one.example:8701"));
        assert_eq!(secure.unwrap(), "https://one.example:8701/");
        for addr in [
            "",
            "one",
            "one:",
            "one:0",
            "one:99999",
            ":8701",
            "a@one:1",
            "one/x:1",
            "a b:1",
            "http://one:1",
            "one:1/x",
            "one#:1",
            "one?:1",
        ] {
            let astray = next(base, Some(addr)).unwrap_err();
            assert!(matches!(astray, Astray::NotToBeAsked { .. }), "{addr}");
        }
        let told = next(base, None).unwrap_err().to_string();
        assert!(
            told.contains("127.0.0.1:8701") && told.contains("one leads"),
            "{told}"
        );
    }

    #[test]
    fn another_machine_does_not_send_the_asker_home() {
        for addr in [
            "127.0.0.1:8701",
            "localhost:8701",
            "[::1]:8701",
            "0.0.0.0:8701",
        ] {
            let told = next("http://tide.example:8701", Some(addr)).unwrap_err();
            assert!(
                told.to_string().contains("operator_advertise_addr"),
                "{told}"
            );
            assert!(next("http://localhost:1", Some(addr)).is_ok(), "{addr}");
        }
    }
}
