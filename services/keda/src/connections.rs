//! Connections, of which there are only so many at a time, and which must speak soon.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Pause after a connection could not be taken, such as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// Length of what an HTTP/2 client says first.
const PREFACE_LEN: usize = 24;

/// Takes connections while fewer than `max` are open; the others wait to be taken.
pub(crate) fn incoming(
    listener: TcpListener,
    max: usize,
    preface_timeout: Duration,
) -> impl Stream<Item = io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(max));
    unfold(listener, move |listener| {
        let places = Arc::clone(&places);
        async move {
            // The places are never closed.
            let permit = places.acquire_owned().await.ok()?;
            let stream = accept(&listener).await;
            let connection = Connection {
                stream,
                preface: Some((PREFACE_LEN, Box::pin(tokio::time::sleep(preface_timeout)))),
                _permit: permit,
            };
            Some((Ok(connection), listener))
        }
    })
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection of KEDA may answer late");
                }
                return stream;
            }
            Err(error) => {
                tracing::warn!(%error, "a connection of KEDA cannot be taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A connection that gives its place back when it is dropped.
pub(crate) struct Connection {
    stream: TcpStream,
    /// Bytes of the preface that are yet to come, and until when. Whoever connects and says
    /// nothing would keep its place for ever: later silence is found by pings, this is not.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn heard(&mut self, n: usize) {
        if let Some((missing, _)) = &mut self.preface {
            *missing = missing.saturating_sub(n);
            if *missing == 0 {
                self.preface = None;
            }
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.heard(buffer.filled().len() - before);
            return read;
        }
        let Some((_, late)) = &mut self.preface else {
            return Poll::Pending;
        };
        let late = late.as_mut().poll(context);
        late.map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
