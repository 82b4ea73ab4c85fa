//! Mutual TLS: both ends show a certificate of the same authority.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName,
};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::Connected;

/// The certificate of this process, and the authority that those of its peers come from. Good
/// for both ends of links.
#[derive(Clone)]
pub struct Tls {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    peer_name: Option<ServerName<'static>>,
}

/// The certificates are not usable.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct TlsError {
    what: &'static str,
    why: String,
}

fn fault<E: fmt::Display>(what: &'static str) -> impl FnOnce(E) -> TlsError {
    move |why| TlsError {
        what,
        why: why.to_string(),
    }
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(fault(what))?;
    match certificates.is_empty() {
        true => Err(fault(what)("no certificate in it")),
        false => Ok(certificates),
    }
}

impl Tls {
    /// From PEM texts: the chain of this process, its key, and the authority of the cluster.
    ///
    /// # Errors
    /// When one of them cannot be read, or the key is not that of the certificate.
    pub fn from_pem(chain: &[u8], key: &[u8], authority: &[u8]) -> Result<Self, TlsError> {
        let chain = certificates("TLS certificate", chain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(fault("TLS key"))?;
        let mut roots = RootCertStore::empty();
        for root in certificates("TLS authority", authority)? {
            roots.add(root).map_err(fault("TLS authority"))?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(ring::default_provider());
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(fault("TLS"))?
            .with_root_certificates(Arc::clone(&roots))
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(fault("TLS certificate"))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(fault("TLS authority"))?;
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(fault("TLS"))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(fault("TLS certificate"))?;
        Ok(Self {
            client: Arc::new(client),
            server: Arc::new(server),
            peer_name: None,
        })
    }

    /// Expects this name in the certificates of peers, instead of the host that is connected to:
    /// nodes come and go, and few certificates name their addresses.
    ///
    /// # Errors
    /// When it is no name of a host.
    pub fn expecting(self, peer_name: &str) -> Result<Self, TlsError> {
        let peer_name = ServerName::try_from(peer_name.to_owned()).map_err(fault("TLS name"))?;
        Ok(Self {
            peer_name: Some(peer_name),
            ..self
        })
    }

    pub(crate) async fn connect(&self, connected: Connected, addr: &str) -> io::Result<Connected> {
        let name = match &self.peer_name {
            Some(name) => name.clone(),
            None => {
                let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
                let host = host.trim_matches(['[', ']']).to_owned();
                ServerName::try_from(host).map_err(io::Error::other)?
            }
        };
        let connector = TlsConnector::from(Arc::clone(&self.client));
        Ok(Connected {
            io: Box::new(connector.connect(name, connected.io).await?),
            is_loopback: connected.is_loopback,
        })
    }

    pub(crate) async fn accept(&self, connected: Connected) -> io::Result<Connected> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.server));
        Ok(Connected {
            io: Box::new(acceptor.accept(connected.io).await?),
            is_loopback: connected.is_loopback,
        })
    }
}

/// Whether TLS failed, not the connection below it.
pub(crate) fn is_from(error: &io::Error) -> bool {
    let inner = error.get_ref();
    inner.is_some_and(|inner| inner.is::<rustls::Error>() || inner.is::<InvalidDnsNameError>())
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}
