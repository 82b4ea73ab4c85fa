//! The greeting over a connection: the decisions of `handshake`, with reads and writes.

use std::future::poll_fn;

use tidepool_wire::frame::{Frame, Hello, LinkKind};
use tokio::io::AsyncWriteExt;

use crate::config::LinkConfig;
use crate::handshake::{Opening, Refused, Welcoming, refusal};
use crate::intake::Intake;
use crate::peer::{Closed, Peer};
use crate::secret::nonce;
use crate::transport::{Connected, Io};

/// Longest frame of somebody who has not proved anything, in bytes.
const GREETING_BYTES_MAX: usize = 2 * 1024;

/// A connection after its greeting, with what came after it.
pub(crate) struct Greeted {
    pub(crate) peer: Peer,
    pub(crate) io: Box<dyn Io>,
    pub(crate) intake: Intake,
}

async fn send(io: &mut Box<dyn Io>, hello: Hello) -> Result<(), Closed> {
    let mut out = Vec::new();
    Frame::Hello(Box::new(hello)).put(&mut out);
    io.write_all(&out).await?;
    Ok(io.flush().await?)
}

async fn receive(io: &mut Box<dyn Io>, intake: &mut Intake) -> Result<Hello, Closed> {
    loop {
        match intake.next()? {
            Some(Frame::Hello(hello)) => return Ok(*hello),
            Some(_) => return Err(Refused::Unexpected.into()),
            None => {}
        }
        if poll_fn(|cx| intake.poll_read(&mut **io, cx)).await? == 0 {
            return Err(Closed::Eof);
        }
    }
}

fn greeted(peer: Peer, io: Box<dyn Io>, mut intake: Intake, config: &LinkConfig) -> Greeted {
    intake.widen(config.limits.frame_bytes);
    Greeted { peer, io, intake }
}

/// The side that opened the connection.
pub(crate) async fn open(
    connected: Connected,
    kind: LinkKind,
    config: &LinkConfig,
) -> Result<Greeted, Closed> {
    let Connected {
        mut io,
        is_loopback,
    } = connected;
    let mut intake = Intake::new(GREETING_BYTES_MAX);
    let (opening, hello) = Opening::begin(config, kind, nonce()?);
    send(&mut io, hello).await?;
    let theirs = receive(&mut io, &mut intake).await?;
    match opening.prove(config, theirs, is_loopback) {
        Ok((peer, proof)) => {
            send(&mut io, proof).await?;
            Ok(greeted(peer, io, intake, config))
        }
        Err(refused) => Err(refuse(&mut io, config, refused).await),
    }
}

/// The side that took the connection.
pub(crate) async fn welcome(connected: Connected, config: &LinkConfig) -> Result<Greeted, Closed> {
    let Connected {
        mut io,
        is_loopback,
    } = connected;
    let mut intake = Intake::new(GREETING_BYTES_MAX);
    let theirs = receive(&mut io, &mut intake).await?;
    let begun = Welcoming::begin(config, theirs, nonce()?, is_loopback);
    let (welcoming, hello) = match begun {
        Ok(begun) => begun,
        Err(refused) => return Err(refuse(&mut io, config, refused).await),
    };
    send(&mut io, hello).await?;
    let proof = receive(&mut io, &mut intake).await?;
    match welcoming.finish(config, &proof) {
        Ok(peer) => Ok(greeted(peer, io, intake, config)),
        Err(refused) => Err(refuse(&mut io, config, refused).await),
    }
}

/// Says why there will be no link; that the peer hears it is not certain.
async fn refuse(io: &mut Box<dyn Io>, config: &LinkConfig, refused: Refused) -> Closed {
    if !matches!(refused, Refused::ByPeer(_)) {
        let _ = send(io, refusal(config, &refused)).await;
        let _ = io.shutdown().await;
    }
    refused.into()
}
