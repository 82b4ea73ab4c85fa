//! Contends for the lease by which one controller leads, and keeps it. Everything that is decided
//! here is decided in [`super::leadership`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidepool_store::{Epoch, Lease};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::leadership::{Answer, Ask, Leadership, Mandate, Standing, Turn};

/// The lease.
const LEASE: &str = "controller";
/// How long it lasts without a renewal.
pub(super) const TTL: Duration = Duration::from_secs(3);
/// How often a leader renews it.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How often a standby tries to take it, and a leader whom nothing answered tries again.
const TRY_EVERY: Duration = Duration::from_millis(250);
/// How long who resigned does not contend: long enough for every standby to try.
const RECESS: Duration = Duration::from_secs(2);
/// Longest wait for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// What everybody in this process may know of the leadership.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) standing: Standing,
    /// The right to act, while this process leads.
    pub(super) mandate: Option<Arc<Mandate>>,
    /// Name of the controller that leads, as far as is known.
    pub(super) leader: Option<String>,
    /// Name of the one that led before this process, as far as is known.
    pub(super) before: Option<String>,
}

/// The contention, as long as it is held.
pub(super) struct Election {
    lease: Arc<dyn Lease>,
    holder: String,
    seat: watch::Receiver<Seat>,
    task: JoinHandle<()>,
}

impl Election {
    /// Contends as `name`. Needs a tokio runtime.
    pub(super) fn start(lease: Arc<dyn Lease>, name: &str, instance: [u8; 16]) -> Self {
        let life = u128::from_be_bytes(instance);
        let holder = format!("{name}/{life:032x}");
        let leadership = Leadership::new(TTL);
        let (sender, seat) = watch::channel(Seat {
            standing: leadership.standing(),
            mandate: None,
            leader: None,
            before: None,
        });
        let contender = Contender {
            lease: Arc::clone(&lease),
            name: name.to_owned(),
            holder: holder.clone(),
            leadership,
            seat: sender,
        };
        Self {
            lease,
            holder,
            seat,
            task: tokio::spawn(contender.run()),
        }
    }

    /// A reader that is told of every change.
    pub(super) fn reader(&self) -> watch::Receiver<Seat> {
        self.seat.clone()
    }

    /// Gives the lease up, so that another controller need not wait for its end.
    pub(super) async fn resign(self) {
        self.task.abort();
        let Some(mandate) = self.seat.borrow().mandate.clone() else {
            return;
        };
        mandate.end();
        let released = self.lease.release(LEASE, &self.holder, mandate.epoch);
        // Without it the lease runs out by itself.
        let _ = tokio::time::timeout(ANSWER_TIMEOUT, released).await;
    }
}

impl Drop for Election {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Contender {
    lease: Arc<dyn Lease>,
    name: String,
    holder: String,
    leadership: Leadership,
    seat: watch::Sender<Seat>,
}

impl Contender {
    async fn run(mut self) {
        loop {
            let asked_at = Instant::now();
            let answer = self.ask(asked_at).await;
            let turn = self.leadership.hear(answer, asked_at, Instant::now());
            self.take(turn);
            if turn.is_none() && answer == Answer::Refused {
                self.look_who_leads().await;
            }
            let pause = match answer {
                Answer::Granted(_) | Answer::Renewed => RENEW_EVERY,
                Answer::Refused | Answer::Nothing => TRY_EVERY,
            };
            self.wait(asked_at + pause).await;
        }
    }

    async fn ask(&self, now: Instant) -> Answer {
        let answer = async {
            match self.leadership.ask() {
                Ask::Acquire => {
                    let granted = self.lease.acquire(LEASE, &self.holder, TTL).await?;
                    Ok(granted.map_or(Answer::Refused, Answer::Granted))
                }
                Ask::Renew(epoch) => {
                    let renewed = self.lease.renew(LEASE, &self.holder, epoch, TTL).await?;
                    let is_ours = if renewed {
                        Answer::Renewed
                    } else {
                        Answer::Refused
                    };
                    Ok::<_, tidepool_store::StoreError>(is_ours)
                }
            }
        };
        let limit = now + ANSWER_TIMEOUT;
        let limit = self
            .leadership
            .ends_at()
            .map_or(limit, |end| end.min(limit));
        match tokio::time::timeout_at(limit.into(), answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::debug!(%error, "the lease of the controller cannot be had");
                Answer::Nothing
            }
            Err(_elapsed) => Answer::Nothing,
        }
    }

    /// Waits until then, but steps down when it is time to, or when the mandate was ended.
    async fn wait(&mut self, until: Instant) {
        let until = self
            .leadership
            .ends_at()
            .map_or(until, |end| end.min(until));
        tokio::time::sleep_until(until.into()).await;
        let now = Instant::now();
        let turn = self.leadership.lapse(now);
        self.take(turn);
        let mandate = self.seat.borrow().mandate.clone();
        if let Some(mandate) = mandate.filter(|mandate| !mandate.holds(now)) {
            let turn = self.leadership.abdicate();
            self.take(turn);
            if mandate.is_resigned() {
                self.let_others_lead(mandate.epoch).await;
            }
        }
    }

    async fn let_others_lead(&self, epoch: Epoch) {
        let released = self.lease.release(LEASE, &self.holder, epoch);
        // Without it the lease runs out by itself, which takes longer.
        let _ = tokio::time::timeout(ANSWER_TIMEOUT, released).await;
        tokio::time::sleep(RECESS).await;
    }

    fn take(&mut self, turn: Option<Turn>) {
        let standing = self.leadership.standing();
        match turn {
            Some(Turn::Won(epoch)) => {
                tracing::info!(%epoch, "this controller leads");
                let until = self.leadership.ends_at().unwrap_or_else(Instant::now);
                let mandate = Arc::new(Mandate::new(epoch, until));
                self.seat.send_modify(|seat| {
                    seat.standing = standing;
                    seat.mandate = Some(mandate);
                    seat.before = seat.leader.replace(self.name.clone());
                });
            }
            Some(Turn::Lost(epoch)) => {
                tracing::warn!(%epoch, "this controller does not lead any more");
                self.seat.send_modify(|seat| {
                    if let Some(mandate) = seat.mandate.take() {
                        mandate.end();
                    }
                    seat.standing = standing;
                });
            }
            None => self.go_on(standing),
        }
    }

    fn go_on(&mut self, standing: Standing) {
        if let (Some(until), Some(mandate)) =
            (self.leadership.ends_at(), &self.seat.borrow().mandate)
        {
            mandate.extend(until);
        }
        self.seat.send_if_modified(|seat| {
            let is_new =
                std::mem::discriminant(&seat.standing) != std::mem::discriminant(&standing);
            seat.standing = standing;
            is_new
        });
    }

    async fn look_who_leads(&self) {
        let current = tokio::time::timeout(ANSWER_TIMEOUT, self.lease.current(LEASE));
        let Ok(Ok(Some(held))) = current.await else {
            return;
        };
        let name = held.holder.split('/').next().unwrap_or_default().to_owned();
        self.seat.send_if_modified(|seat| {
            let is_new = seat.leader.as_ref() != Some(&name);
            if is_new {
                seat.leader = Some(name);
            }
            is_new
        });
    }
}

#[cfg(test)]
mod tests {
    use tidepool_store::EmbeddedStore;

    use super::*;

    /// The mandate of a contender, once it has one.
    async fn won(election: &Election) -> Arc<Mandate> {
        let mut seats = election.reader();
        let seat = seats.wait_for(|seat| seat.mandate.is_some()).await.unwrap();
        Arc::clone(seat.mandate.as_ref().unwrap())
    }

    #[tokio::test]
    async fn who_resigns_lets_another_one_lead() {
        let store = Arc::new(EmbeddedStore::ephemeral().unwrap());
        let first = Election::start(store.clone(), "one", [1; 16]);
        let mandate = won(&first).await;
        let second = Election::start(store.clone(), "two", [2; 16]);
        mandate.resign();
        let next = tokio::time::timeout(2 * TTL, won(&second)).await;
        assert!(next.expect("another leader").epoch > mandate.epoch);
        assert!(first.reader().borrow().mandate.is_none());
    }
}
