//! Which server: its URL, and what of its settings is dangerous.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redis::{Client, IntoConnectionInfo, TlsCertificates};

use crate::error::StoreError;

/// Part of the URL that names a file with certificates (PEM), instead of those of the system.
const CA_FILE: &str = "ca_file=";

/// A server as configured. The name is fit for logs: it has no user and no password.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) client: Client,
    pub(super) name: String,
}

impl Server {
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let (url, ca_file) = split_ca_file(url);
        let invalid = |_| StoreError::Invalid {
            what: "the Redis URL",
            reason: "must look like redis://[user:password@]host:port/[db], or rediss:// for TLS, \
                     there with ?ca_file=<path> for certificates that the system does not know",
        };
        let info = url.as_str().into_connection_info().map_err(invalid)?;
        let name = info.addr().to_string();
        let client = if url.starts_with("rediss:") {
            install_provider();
            let root_cert = ca_file.as_deref().map(read).transpose()?;
            let certificates = TlsCertificates {
                client_tls: None,
                root_cert,
            };
            Client::build_with_tls(info, certificates).map_err(invalid)?
        } else {
            Client::open(info).map_err(invalid)?
        };
        Ok(Self { client, name })
    }
}

/// One implementation of cryptography for the whole process; another part of it may have been
/// first, with the same.
fn install_provider() {
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
}

fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    std::fs::read(path).map_err(|error| StoreError::Io {
        action: "read the certificates in",
        path: path.to_owned(),
        source: Arc::new(error),
    })
}

/// The URL without the file, and the file.
pub(super) fn split_ca_file(url: &str) -> (String, Option<PathBuf>) {
    let Some((base, query)) = url.split_once('?') else {
        return (url.to_owned(), None);
    };
    let (ours, others): (Vec<&str>, Vec<&str>) =
        query.split('&').partition(|part| part.starts_with(CA_FILE));
    let file = ours
        .first()
        .map(|part| PathBuf::from(&part[CA_FILE.len()..]));
    match others.is_empty() {
        true => (base.to_owned(), file),
        false => (format!("{base}?{}", others.join("&")), file),
    }
}

/// What in the server's own report (`INFO`) can lose acknowledged data, and in its `appendfsync`,
/// which few users may read.
pub(super) fn warnings(info: &str, fsync: Option<&str>) -> Vec<String> {
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    let mut warnings = Vec::new();
    let policy = field("maxmemory_policy").unwrap_or("noeviction");
    if policy != "noeviction" && field("maxmemory").is_some_and(|bytes| bytes != "0") {
        warnings.push(format!(
            "maxmemory-policy is {policy}, so Redis throws data away when its memory is full: set \
             it to noeviction"
        ));
    }
    match (field("aof_enabled"), fsync) {
        (Some("0"), _) => warnings.push(
            "appendonly is off, so what was acknowledged is lost when Redis is killed: set it to \
             yes, and appendfsync to always"
                .to_owned(),
        ),
        (_, Some(fsync)) if fsync != "always" => warnings.push(format!(
            "appendfsync is {fsync}, so what was acknowledged last is lost when Redis or its machine \
             is killed: set it to always"
        )),
        _ => {}
    }
    if field("role") == Some("slave") {
        warnings.push("this is a replica: point the URL at the primary".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_has_no_secret() {
        let server = Server::parse("redis://bob:hunter2@localhost:7000/3").unwrap();
        assert_eq!(server.name, "localhost:7000");
        let error = Server::parse("redis//bob:hunter2@localhost").err().unwrap();
        assert!(!error.full().contains("hunter2"), "{error}");
    }

    #[test]
    fn certificates_are_named_in_the_url() {
        let split = |url| split_ca_file(url);
        assert_eq!(split("rediss://h/"), ("rediss://h/".into(), None));
        assert_eq!(
            split("rediss://h/?ca_file=/etc/ca.pem&protocol=resp2"),
            (
                "rediss://h/?protocol=resp2".into(),
                Some("/etc/ca.pem".into())
            )
        );
        let error = Server::parse("rediss://h/?ca_file=/no/such.pem")
            .err()
            .unwrap();
        assert!(error.to_string().contains("/no/such.pem"), "{error}");
    }

    #[test]
    fn warns_of_what_loses_data() {
        let info = |policy: &str, maxmemory: &str, aof: &str, role: &str| {
            let report = format!(
                "# Memory\r\nmaxmemory:{maxmemory}\r\nmaxmemory_policy:{policy}\r\n\
                 # Persistence\r\naof_enabled:{aof}\r\n# Replication\r\nrole:{role}\r\n"
            );
            warnings(&report, None)
        };
        assert!(info("noeviction", "100", "1", "master").is_empty());
        assert!(info("allkeys-lru", "0", "1", "master").is_empty());
        assert!(info("allkeys-lru", "100", "1", "master")[0].contains("allkeys-lru"));
        assert_eq!(info("volatile-ttl", "100", "0", "slave").len(), 3);
        assert!(warnings("", None).is_empty());
        let on = "aof_enabled:1\r\n";
        assert!(warnings(on, Some("always")).is_empty());
        assert!(warnings(on, Some("everysec"))[0].contains("set it to always"));
        let off = warnings("aof_enabled:0\r\n", Some("everysec"));
        assert_eq!(off.len(), 1, "{off:?}");
        assert!(off[0].contains("appendfsync to always"), "{off:?}");
    }
}
