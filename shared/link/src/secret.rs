//! The secret that the processes of one cluster share, and fresh random bytes.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;
use tidepool_wire::frame::{InstanceId, Mac, Nonce};

/// Shortest secret, in bytes.
const SECRET_BYTES_MIN: usize = 16;

/// The cluster's secret, and the one before it while that is replaced. Never shown.
#[derive(Clone)]
pub struct Secret {
    current: Key,
    previous: Option<Key>,
}

/// One secret.
#[derive(Clone)]
pub(crate) struct Key(Arc<[u8]>);

/// The secret is too easy to guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cluster secret has {0} bytes: use {SECRET_BYTES_MIN} or more, such as `openssl rand -hex 32`"
)]
pub struct WeakSecret(pub usize);

impl Secret {
    /// A secret; white space around it does not count, as files end with a line break.
    ///
    /// # Errors
    /// When it has less than 16 bytes.
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Self, WeakSecret> {
        let bytes = secret.as_ref().trim_ascii();
        if bytes.len() < SECRET_BYTES_MIN {
            return Err(WeakSecret(bytes.len()));
        }
        Ok(Self {
            current: Key(bytes.into()),
            previous: None,
        })
    }

    /// Also meets peers that know only `previous`, each under the secret that it knows.
    #[must_use]
    pub fn with_previous(self, previous: &Self) -> Self {
        Self {
            previous: Some(previous.current.clone()),
            ..self
        }
    }

    /// The one to use with peers of which nothing is known.
    pub(crate) fn current(&self) -> &Key {
        &self.current
    }

    /// The one under which the code is that of the message, if any.
    pub(crate) fn verifying(&self, message: &[u8], mac: &Mac) -> Option<&Key> {
        let mut keys = std::iter::once(&self.current).chain(&self.previous);
        keys.find(|key| key.verifies(message, mac))
    }
}

impl Key {
    /// The code of a message.
    pub(crate) fn sign(&self, message: &[u8]) -> Mac {
        self.keyed(message).finalize().into_bytes().into()
    }

    /// Whether the code is that of the message; takes the same time wherever they differ.
    fn verifies(&self, message: &[u8], mac: &Mac) -> bool {
        self.keyed(message).verify_slice(mac).is_ok()
    }

    fn keyed(&self, message: &[u8]) -> Hmac<Sha256> {
        let mut hmac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0)
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        hmac.update(message);
        hmac
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A name for this life of the process. To be drawn once and shared by all its links.
///
/// # Errors
/// When the system has no randomness.
pub fn instance_id() -> std::io::Result<InstanceId> {
    random()
}

pub(crate) fn nonce() -> std::io::Result<Nonce> {
    random()
}

fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes)
}
