//! The greeting of a link, as decisions without sockets.
//!
//! 1. client: HELLO with its nonce;
//! 2. server: HELLO with its own, and a code over both;
//! 3. client: HELLO again, with a code of its own.
//!
//! A code is the HMAC-SHA256, under the cluster's secret, of which side speaks, the version that
//! both speak, and all that both have said of themselves. So none fits another link, the other
//! direction, other names or another version. A side that refuses says why and closes.
//!
//! While a secret is replaced a side may know two. The first HELLO has a code over itself, from which
//! the server sees which one its client knows; a server of before this release does not look at it.

use tidepool_wire::frame::{Hello, HelloLimits, LinkKind, Mac, Nonce, Role, Versions};

use crate::config::LinkConfig;
use crate::peer::Peer;
use crate::secret::{Key, Secret};

/// Why a link did not come about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No version that both speak.
    #[error("no common version of the link: this side speaks {} to {}, the peer {} to {}; put the older of the two on a release in between", .ours.min, .ours.max, .theirs.min, .theirs.max)]
    Versions {
        /// Those of this side.
        ours: Versions,
        /// Those of the peer.
        theirs: Versions,
    },
    /// The code is missing or wrong.
    #[error("the peer does not know the cluster's secret")]
    Secret,
    /// There is no secret here, and the peer is not on this machine.
    #[error("without a cluster secret only peers on this machine are spoken to")]
    NotLoopback,
    /// The peer is not what it should be.
    #[error("a {0} is not expected here")]
    Role(&'static str),
    /// The peer is this process.
    #[error("the peer is this very process")]
    Itself,
    /// As many connections as there may be.
    #[error("too many connections")]
    TooMany,
    /// Another frame than the greeting's next.
    #[error("the greeting was expected")]
    Unexpected,
    /// The peer refused, in its words.
    #[error("the peer refused: {0}")]
    ByPeer(String),
}

/// Which side speaks. In each code, so that none can be sent back to whom it came from.
const SERVER: &[u8] = b"tidepool link, server";
const CLIENT: &[u8] = b"tidepool link, client";
const CLIENT_FIRST: &[u8] = b"tidepool link, client, first words";

/// The message of a code: every field, each of fixed length or behind its length.
struct Transcript(Vec<u8>);

impl Transcript {
    fn of(side: &[u8]) -> Self {
        let mut transcript = Self(Vec::with_capacity(512));
        transcript.put(side);
        transcript
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0
            .extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        self.0.extend_from_slice(bytes);
    }

    fn put_hello(&mut self, hello: &Hello) {
        self.put(&[hello.versions.min, hello.versions.max]);
        self.put(hello.role.as_str().as_bytes());
        self.put(hello.kind.as_str().as_bytes());
        self.put(hello.name.as_bytes());
        self.put(&hello.instance);
        self.put(&hello.nonce);
        self.put(&hello.limits.frame_bytes.to_be_bytes());
        self.put(&hello.limits.message_bytes.to_be_bytes());
        self.put(&hello.limits.in_flight.to_be_bytes());
    }
}

/// What a client says before it has heard anything.
fn first_words(hello: &Hello) -> Vec<u8> {
    let mut transcript = Transcript::of(CLIENT_FIRST);
    transcript.put_hello(hello);
    transcript.0
}

/// The secret that a client knows by its first words; ours where they do not tell.
fn known_to<'a>(secret: &'a Secret, client: &Hello) -> &'a Key {
    let mac = client.mac.as_ref();
    mac.and_then(|mac| secret.verifying(&first_words(client), mac))
        .unwrap_or_else(|| secret.current())
}

/// What both said.
struct Said<'a> {
    client: &'a Hello,
    server: &'a Hello,
    version: u8,
}

impl Said<'_> {
    fn transcript(&self, side: &[u8]) -> Vec<u8> {
        let mut transcript = Transcript::of(side);
        transcript.put(&[self.version]);
        transcript.put_hello(self.client);
        transcript.put_hello(self.server);
        transcript.0
    }

    fn sign(&self, side: &[u8], key: Option<&Key>) -> Option<Mac> {
        key.map(|key| key.sign(&self.transcript(side)))
    }

    /// The secret that the peer has shown to know; nothing where none is asked for.
    fn verify<'a>(
        &self,
        side: &[u8],
        secret: Option<&'a Secret>,
        mac: Option<&Mac>,
    ) -> Result<Option<&'a Key>, Refused> {
        let Some(secret) = secret else {
            return Ok(None);
        };
        let key = mac.and_then(|mac| secret.verifying(&self.transcript(side), mac));
        key.map(Some).ok_or(Refused::Secret)
    }
}

fn hello(config: &LinkConfig, kind: LinkKind, nonce: Nonce) -> Hello {
    Hello {
        versions: config.versions,
        role: config.local.role,
        name: config.local.name.clone(),
        instance: config.local.instance,
        kind,
        nonce,
        limits: config.limits.hello(),
        mac: None,
        refused: None,
    }
}

/// What this side says instead of its greeting.
pub(crate) fn refusal(config: &LinkConfig, refused: &Refused) -> Hello {
    Hello {
        refused: Some(refused.to_string()),
        ..hello(config, LinkKind::Data, [0; 32])
    }
}

/// What must hold of any peer.
fn greet(config: &LinkConfig, theirs: &Hello, is_loopback: bool) -> Result<u8, Refused> {
    if let Some(refused) = &theirs.refused {
        return Err(Refused::ByPeer(refused.clone()));
    }
    if config.secret.is_none() && !is_loopback {
        return Err(Refused::NotLoopback);
    }
    if theirs.instance == config.local.instance {
        return Err(Refused::Itself);
    }
    let expected = match config.local.role {
        Role::Balancer => Role::Node,
        Role::Node | Role::Controller => Role::Balancer,
    };
    if theirs.role != expected {
        return Err(Refused::Role(theirs.role.as_str()));
    }
    let ours = config.versions;
    ours.common(theirs.versions).ok_or(Refused::Versions {
        ours,
        theirs: theirs.versions,
    })
}

fn peer(hello: Hello, kind: LinkKind, version: u8) -> Peer {
    Peer {
        role: hello.role,
        name: hello.name,
        instance: hello.instance,
        kind,
        version,
        limits: HelloLimits { ..hello.limits },
    }
}

/// The side that opened the connection, waiting for step 2.
pub(crate) struct Opening {
    said: Hello,
}

impl Opening {
    /// Step 1.
    pub(crate) fn begin(config: &LinkConfig, kind: LinkKind, nonce: Nonce) -> (Self, Hello) {
        let said = hello(config, kind, nonce);
        let secret = config.secret.as_ref();
        let first = Hello {
            mac: secret.map(|secret| secret.current().sign(&first_words(&said))),
            ..said.clone()
        };
        (Self { said }, first)
    }

    /// Judges step 2; answers the peer and step 3. The link is up for this side.
    pub(crate) fn prove(
        self,
        config: &LinkConfig,
        theirs: Hello,
        is_loopback: bool,
    ) -> Result<(Peer, Hello), Refused> {
        let version = greet(config, &theirs, is_loopback)?;
        let said = Said {
            client: &self.said,
            server: &theirs,
            version,
        };
        let key = said.verify(SERVER, config.secret.as_ref(), theirs.mac.as_ref())?;
        let proof = Hello {
            mac: said.sign(CLIENT, key),
            ..self.said.clone()
        };
        Ok((peer(theirs, self.said.kind, version), proof))
    }
}

/// The side that took the connection, waiting for step 3.
pub(crate) struct Welcoming {
    theirs: Hello,
    ours: Hello,
    version: u8,
}

impl Welcoming {
    /// Judges step 1; answers step 2.
    pub(crate) fn begin(
        config: &LinkConfig,
        theirs: Hello,
        nonce: Nonce,
        is_loopback: bool,
    ) -> Result<(Self, Hello), Refused> {
        let version = greet(config, &theirs, is_loopback)?;
        let mut ours = hello(config, theirs.kind, nonce);
        let said = Said {
            client: &theirs,
            server: &ours,
            version,
        };
        let secret = config.secret.as_ref();
        ours.mac = said.sign(SERVER, secret.map(|secret| known_to(secret, &theirs)));
        let said = ours.clone();
        Ok((
            Self {
                theirs,
                ours,
                version,
            },
            said,
        ))
    }

    /// Judges step 3.
    pub(crate) fn finish(self, config: &LinkConfig, proof: &Hello) -> Result<Peer, Refused> {
        if let Some(refused) = &proof.refused {
            return Err(Refused::ByPeer(refused.clone()));
        }
        let said = Said {
            client: &self.theirs,
            server: &self.ours,
            version: self.version,
        };
        said.verify(CLIENT, config.secret.as_ref(), proof.mac.as_ref())?;
        let kind = self.theirs.kind;
        Ok(peer(self.theirs, kind, self.version))
    }
}

#[cfg(test)]
mod tests;
