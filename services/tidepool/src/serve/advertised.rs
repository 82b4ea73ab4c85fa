//! The addresses of this process as others reach it: a listener that is bound to every interface has
//! none that could be called.

use std::net::SocketAddr;

use crate::settings::{Http, Node, Settings};

/// Where operators and other processes call its operator API.
pub(super) fn operator(settings: &Settings, bound: SocketAddr) -> String {
    let machine = sysinfo::System::host_name().ok();
    operator_at(&settings.http, &settings.node, bound, machine.as_deref())
}

/// Where balancers call it as a node.
pub(super) fn link(settings: &Settings, bound: SocketAddr) -> String {
    let told = settings.node.advertise_addr.clone();
    told.unwrap_or_else(|| bound.to_string())
}

fn operator_at(http: &Http, node: &Node, bound: SocketAddr, machine: Option<&str>) -> String {
    if let Some(told) = &http.operator_advertise_addr {
        return told.clone();
    }
    if !bound.ip().is_unspecified() {
        return bound.to_string();
    }
    let of_links = node.advertise_addr.as_deref();
    let of_links = of_links.and_then(|addr| addr.rsplit_once(':'));
    let host = of_links.map(|(host, _)| host).or(machine);
    let host = host.filter(|host| !host.is_empty());
    host.map_or_else(
        || bound.to_string(),
        |host| format!("{host}:{}", bound.port()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{self, Inputs};

    fn told(variables: &[(&str, &str)], bound: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tidepool.toml");
        std::fs::write(&file, "http.operator_token = 't'").unwrap();
        let variables = variables.iter();
        let loaded = settings::load(&Inputs {
            file: Some(file),
            variables: variables
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            ..Inputs::default()
        });
        let settings = loaded.unwrap().settings;
        let bound = bound.parse().unwrap();
        operator_at(&settings.http, &settings.node, bound, Some("web-1"))
    }

    #[test]
    fn nobody_is_told_an_address_that_cannot_be_called() {
        let advertised = ("TIDEPOOL_HTTP__OPERATOR_ADVERTISE_ADDR", "controller1:9000");
        let node = ("TIDEPOOL_NODE__ADVERTISE_ADDR", "[fd00::7]:8702");
        for (variables, bound, expected) in [
            (&[][..], "127.0.0.1:8701", "127.0.0.1:8701"),
            (&[node], "10.0.0.7:8701", "10.0.0.7:8701"),
            (&[], "0.0.0.0:8701", "web-1:8701"),
            (&[node], "[::]:8701", "[fd00::7]:8701"),
            (&[advertised, node], "0.0.0.0:8701", "controller1:9000"),
            (&[advertised], "127.0.0.1:8701", "controller1:9000"),
        ] {
            assert_eq!(told(variables, bound), expected);
        }
    }
}
