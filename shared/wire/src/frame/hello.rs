//! The first frames of a link: who one is, what one speaks, and the proof of knowing the secret.

use super::FrameError;
use super::header::{Reader, Writer};

/// Longest word of a refusal, in bytes.
const REFUSAL_BYTES_MAX: usize = 300;
/// Longest key and longest name of a role or link kind, in bytes.
const WORD_BYTES_MAX: usize = 32;

/// What one side sends once, so that no proof fits twice.
pub type Nonce = [u8; 32];
/// An HMAC-SHA256.
pub type Mac = [u8; 32];
/// One life of a process; all its links share it.
pub type InstanceId = [u8; 16];

/// A range of versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Versions {
    /// Oldest one spoken.
    pub min: u8,
    /// Newest one spoken.
    pub max: u8,
}

impl Versions {
    /// The newest version that both speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u8> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name {
            $($(#[$of])* $variant),+
        }

        impl $name {
            /// Its name on the wire and in messages.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }

            fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

words! {
    /// What a process is.
    Role {
        /// It takes requests from clients.
        Balancer = "balancer",
        /// It hosts workers.
        Node = "node",
        /// It decides.
        Controller = "controller",
    }
}

words! {
    /// What a link is for.
    LinkKind {
        /// Credits, drains and signs of life.
        Control = "control",
        /// Requests and answers.
        Data = "data",
    }
}

/// What one side takes from the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HelloLimits {
    /// Longest body of a frame, in bytes.
    pub frame_bytes: u32,
    /// Longest payload of a message, in bytes.
    pub message_bytes: u32,
    /// Requests in flight on the link.
    pub in_flight: u32,
}

/// One step of the greeting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// The versions that the sender speaks.
    pub versions: Versions,
    /// What it is.
    pub role: Role,
    /// Its name, for people.
    pub name: String,
    /// Its life.
    pub instance: InstanceId,
    /// What the link is for.
    pub kind: LinkKind,
    /// Its nonce.
    pub nonce: Nonce,
    /// What it takes.
    pub limits: HelloLimits,
    /// The proof, in the steps that have one.
    pub mac: Option<Mac>,
    /// Why the link is refused, if it is; the sender closes after it.
    pub refused: Option<String>,
}

impl Hello {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut w = Writer(out);
        let entries = 10 + usize::from(self.mac.is_some()) + usize::from(self.refused.is_some());
        w.map(entries);
        let mut number = |key: &str, value: u32| {
            w.text(key, WORD_BYTES_MAX);
            w.uint(value);
        };
        number("version_min", self.versions.min.into());
        number("version_max", self.versions.max.into());
        number("frame_bytes", self.limits.frame_bytes);
        number("message_bytes", self.limits.message_bytes);
        number("in_flight", self.limits.in_flight);
        let mut text = |key: &str, value: &str, bytes_max: usize| {
            w.text(key, WORD_BYTES_MAX);
            w.text(value, bytes_max);
        };
        text("role", self.role.as_str(), WORD_BYTES_MAX);
        text("kind", self.kind.as_str(), WORD_BYTES_MAX);
        text("name", &self.name, super::LABEL_BYTES_MAX);
        if let Some(refused) = &self.refused {
            text("refused", refused, REFUSAL_BYTES_MAX);
        }
        let mut bytes = |key: &str, value: &[u8]| {
            w.text(key, WORD_BYTES_MAX);
            w.bytes(value);
        };
        bytes("instance", &self.instance);
        bytes("nonce", &self.nonce);
        if let Some(mac) = &self.mac {
            bytes("mac", mac);
        }
    }

    pub(super) fn read(body: &[u8]) -> Result<Self, FrameError> {
        let (mut r, entries) = Reader::map(body)?;
        let mut seen = Seen::default();
        for _ in 0..entries {
            seen.entry(&mut r)?;
        }
        match r.close()?.len() {
            0 => seen.complete(),
            left => Err(FrameError::Trailing(left)),
        }
    }
}

/// The entries so far.
#[derive(Default)]
struct Seen {
    version_min: Option<u8>,
    version_max: Option<u8>,
    frame_bytes: Option<u32>,
    message_bytes: Option<u32>,
    in_flight: Option<u32>,
    role: Option<Role>,
    kind: Option<LinkKind>,
    name: Option<String>,
    instance: Option<InstanceId>,
    nonce: Option<Nonce>,
    mac: Option<Mac>,
    refused: Option<String>,
}

impl Seen {
    fn entry(&mut self, r: &mut Reader<'_>) -> Result<(), FrameError> {
        match r.text("key", WORD_BYTES_MAX)? {
            "version_min" => self.version_min = Some(r.int("version_min")?),
            "version_max" => self.version_max = Some(r.int("version_max")?),
            "frame_bytes" => self.frame_bytes = Some(r.int("frame_bytes")?),
            "message_bytes" => self.message_bytes = Some(r.int("message_bytes")?),
            "in_flight" => self.in_flight = Some(r.int("in_flight")?),
            "role" => self.role = Role::from_word(r.text("role", WORD_BYTES_MAX)?),
            "kind" => self.kind = LinkKind::from_word(r.text("kind", WORD_BYTES_MAX)?),
            "name" => self.name = Some(r.text("name", super::LABEL_BYTES_MAX)?.to_owned()),
            "instance" => self.instance = Some(r.bytes("instance")?),
            "nonce" => self.nonce = Some(r.bytes("nonce")?),
            "mac" => self.mac = Some(r.bytes("mac")?),
            "refused" => self.refused = Some(r.text("refused", REFUSAL_BYTES_MAX)?.to_owned()),
            _ => r.skip()?,
        }
        Ok(())
    }

    fn complete(self) -> Result<Hello, FrameError> {
        let versions = Versions {
            min: must(self.version_min, "version_min")?,
            max: must(self.version_max, "version_max")?,
        };
        if versions.min > versions.max {
            return Err(FrameError::Wrong("version_min"));
        }
        Ok(Hello {
            versions,
            role: must(self.role, "role")?,
            name: must(self.name, "name")?,
            instance: must(self.instance, "instance")?,
            kind: must(self.kind, "kind")?,
            nonce: must(self.nonce, "nonce")?,
            limits: HelloLimits {
                frame_bytes: must(self.frame_bytes, "frame_bytes")?,
                message_bytes: must(self.message_bytes, "message_bytes")?,
                in_flight: must(self.in_flight, "in_flight")?,
            },
            mac: self.mac,
            refused: self.refused,
        })
    }
}

fn must<T>(entry: Option<T>, name: &'static str) -> Result<T, FrameError> {
    entry.ok_or(FrameError::Missing(name))
}
