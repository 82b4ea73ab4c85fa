//! What this process has heard from the controller that leads, for those who do not decide
//! themselves.

use std::sync::Arc;
use std::time::Instant;

use tidepool_cluster::{Boards, Posted};
use tidepool_core::status::{DrainError, Hearsay, PoolStatus, Referral};
use tidepool_core::{Timestamp, WorkerId};
use tidepool_store::Kv;
use tidepool_supervisor::steady_wall_clock;

/// The boards that were seen, and the clock that their times are told by.
pub(super) struct Heard {
    boards: Boards,
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Heard {
    /// Begins to listen. Needs a tokio runtime.
    pub(super) fn follow(kv: &Arc<dyn Kv>) -> Self {
        Self {
            boards: Boards::follow(Arc::clone(kv)),
            clock: Box::new(steady_wall_clock()),
        }
    }

    fn newest(&self) -> Option<Arc<Posted>> {
        self.boards.newest()
    }

    /// Every pool, as it was told last.
    pub(super) fn pools(&self) -> Vec<PoolStatus> {
        self.newest().map_or_else(Vec::new, |posted| {
            posted.pools(Instant::now(), (self.clock)())
        })
    }

    /// Whose word that is.
    pub(super) fn told_by(&self) -> Option<Hearsay> {
        let posted = self.newest()?;
        Some(posted.told_by(Instant::now()))
    }

    /// Whom to ask instead of a process that does not decide.
    pub(super) fn who_leads(&self) -> Referral {
        let Some(told) = self.told_by() else {
            return Referral {
                detail: "no controller has been heard of; this process decides nothing".to_owned(),
                operator_addr: None,
            };
        };
        let addr = Some(told.operator_addr).filter(|addr| !addr.is_empty());
        let detail = match &addr {
            Some(addr) => format!("{} leads: ask http://{addr}", told.leader),
            None => format!("{} leads", told.leader),
        };
        Referral {
            detail,
            operator_addr: addr,
        }
    }

    /// The refusal to drain a worker of another process, with who takes that order: the node in the
    /// worker's name, else the controller, who knows every node.
    pub(super) fn elsewhere(&self, worker: &WorkerId) -> DrainError {
        let unknown = || DrainError::Unknown(worker.clone());
        let Some(posted) = self.newest() else {
            return unknown();
        };
        let board = posted.board();
        let node = worker.as_str().rsplit_once('@').map(|(_, node)| node);
        let known = node.and_then(|node| board.nodes.get(node));
        let operator_addr = known.unwrap_or(&board.operator_addr);
        if operator_addr.is_empty() {
            return unknown();
        }
        DrainError::Elsewhere {
            worker: worker.clone(),
            operator_addr: operator_addr.clone(),
        }
    }
}
