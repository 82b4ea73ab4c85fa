//! Where bytes come from and go to: TCP, or TLS over it. Links know only [`Io`].

#[cfg(feature = "tls")]
pub(crate) mod tls;

use std::io;
use std::net::{SocketAddr, TcpListener};

use futures_util::future::LocalBoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

#[cfg(feature = "tls")]
use tls::Tls;

/// A connection as a link needs it.
pub trait Io: AsyncRead + AsyncWrite + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Io for T {}

/// A connection that was made.
pub struct Connected {
    /// Its bytes.
    pub io: Box<dyn Io>,
    /// Whether the other end is on this machine.
    pub is_loopback: bool,
}

/// How a connection to one peer is made.
pub trait Transport: 'static {
    /// Makes a connection.
    ///
    /// # Errors
    /// When there is none; the link is then closed with [`crate::Closed::Io`].
    fn connect(&self) -> LocalBoxFuture<'_, io::Result<Connected>>;
}

/// A connection over TCP, with TLS or without.
#[derive(Clone, Debug)]
pub struct Tcp {
    addr: String,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

impl Tcp {
    /// To `host:port`; the name is looked up with each connection.
    #[must_use]
    pub fn new(addr: impl Into<String>) -> Self {
        Self {
            addr: addr.into(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// With mutual TLS, if it is configured.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    async fn connected(&self) -> io::Result<Connected> {
        let stream = TcpStream::connect(&self.addr).await?;
        let connected = plain(stream)?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.connect(connected, &self.addr).await;
        }
        Ok(connected)
    }
}

impl Transport for Tcp {
    fn connect(&self) -> LocalBoxFuture<'_, io::Result<Connected>> {
        Box::pin(self.connected())
    }
}

/// A stream as it is. Frames are written whole, so nothing is to be held back.
pub(crate) fn plain(stream: TcpStream) -> io::Result<Connected> {
    stream.set_nodelay(true)?;
    let is_loopback = stream.peer_addr()?.ip().to_canonical().is_loopback();
    Ok(Connected {
        io: Box::new(stream),
        is_loopback,
    })
}

/// A listener for [`crate::Server::accept`].
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
