//! Whether a back end works, as seen by its last operation.

use parking_lot::Mutex;
use tidepool_core::status::ComponentHealth;

use crate::error::StoreError;

/// The last failure, until an operation succeeds again.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    failing: Mutex<Option<String>>,
}

impl Vitals {
    /// Notes how an operation ended. Logs only when that changes.
    pub(crate) fn note(&self, component: &'static str, outcome: Result<(), &StoreError>) {
        let mut failing = self.failing.lock();
        match (outcome, failing.is_some()) {
            (Err(error), was_failing) => {
                let text = error.full();
                if !was_failing {
                    tracing::error!(component, error = %text, "the store fails");
                }
                *failing = Some(text);
            }
            (Ok(()), true) => {
                tracing::info!(component, "the store works again");
                *failing = None;
            }
            (Ok(()), false) => {}
        }
    }

    pub(crate) fn health(&self, component: &str, fine: &str) -> ComponentHealth {
        let failing = self.failing.lock();
        ComponentHealth {
            component: component.to_owned(),
            state: if failing.is_some() { "down" } else { "ok" }.to_owned(),
            detail: failing.clone().unwrap_or_else(|| fine.to_owned()),
        }
    }
}
