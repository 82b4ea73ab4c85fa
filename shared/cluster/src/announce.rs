//! Says again and again that this process is there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidepool_store::Roster;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// How often a process announces itself.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long an announcement counts.
const TTL: Duration = Duration::from_secs(5);
/// Least time between two announcements.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest wait for the store when a process takes itself off.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(1);
/// How long its last word stands: everybody who follows looks more often.
const LAST_WORD_TTL: Duration = Duration::from_secs(1);

/// What a member says of itself now.
type Says = dyn Fn() -> Option<Bytes> + Send + Sync;

/// Asks for an announcement before its time, because there is news.
#[derive(Clone, Default)]
pub struct Nudge(Arc<Notify>);

impl Nudge {
    /// Asks for it.
    pub fn now(&self) {
        self.0.notify_one();
    }
}

/// A member of a group, as long as it is held.
pub struct Announcer {
    roster: Arc<dyn Roster>,
    group: &'static str,
    member: String,
    document: Arc<Says>,
    task: JoinHandle<()>,
}

impl Announcer {
    /// Announces `member` every second, and on `nudge`, with what `document` gives then; nothing
    /// is announced when it gives nothing. Needs a tokio runtime.
    pub fn start(
        roster: Arc<dyn Roster>,
        group: &'static str,
        member: String,
        nudge: Nudge,
        document: impl Fn() -> Option<Bytes> + Send + Sync + 'static,
    ) -> Self {
        let document: Arc<Says> = Arc::new(document);
        let says = Arc::clone(&document);
        let task = tokio::spawn(announce(
            Arc::clone(&roster),
            group,
            member.clone(),
            nudge,
            move || says(),
        ));
        Self {
            roster,
            group,
            member,
            document,
            task,
        }
    }

    /// Takes the member off with a last word: what its document says now is there for another
    /// second, so that who misses it later knows that it meant to go.
    pub async fn take_leave(self) {
        self.task.abort();
        if let Some(document) = (self.document)() {
            let told = (self.roster).announce(self.group, &self.member, document, LAST_WORD_TTL);
            // Without it the announcement runs out by itself, and nobody knows why.
            let _ = tokio::time::timeout(WITHDRAW_TIMEOUT, told).await;
        }
    }

    /// Takes the member off at once, so that nobody has to find out.
    pub async fn withdraw(self) {
        self.task.abort();
        let withdrawn = self.roster.withdraw(self.group, &self.member);
        // Without it the announcement runs out by itself.
        let _ = tokio::time::timeout(WITHDRAW_TIMEOUT, withdrawn).await;
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn announce(
    roster: Arc<dyn Roster>,
    group: &'static str,
    member: String,
    nudge: Nudge,
    document: impl Fn() -> Option<Bytes>,
) {
    let mut is_told = false;
    loop {
        if let Some(document) = document() {
            let announced = roster.announce(group, &member, document, TTL).await;
            match announced {
                Ok(()) if is_told => {
                    is_told = false;
                    tracing::info!(group, "the store answers again: this process is announced");
                }
                Ok(()) => {}
                Err(error) if !is_told => {
                    is_told = true;
                    tracing::warn!(group, %error, "this process cannot be announced; trying on");
                }
                Err(_) => {}
            }
        }
        tokio::time::sleep(PAUSE_MIN).await;
        // Whether it was asked for or is time does not matter.
        let _ = tokio::time::timeout(INTERVAL.saturating_sub(PAUSE_MIN), nudge.0.notified()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tidepool_store::EmbeddedStore;

    use super::*;

    #[tokio::test]
    async fn the_last_word_is_heard_and_is_the_last() {
        let roster: Arc<dyn Roster> = Arc::new(EmbeddedStore::ephemeral().unwrap());
        let (sender, word) = tokio::sync::watch::channel("there");
        let says = move || Some(Bytes::from_static(word.borrow().as_bytes()));
        let member = "a".to_owned();
        let roll = Arc::clone(&roster);
        let announcer = Announcer::start(roll, "g", member, Nudge::default(), says);
        let heard = async || {
            let members = roster.members("g").await.unwrap();
            members.first().map(|(_, document)| document.clone())
        };
        while heard().await.is_none() {
            tokio::task::yield_now().await;
        }
        sender.send_replace("leaving");
        announcer.take_leave().await;
        assert_eq!(heard().await.as_deref(), Some(&b"leaving"[..]));
        let left = Instant::now();
        while heard().await.is_some() {
            assert!(left.elapsed() < TTL - LAST_WORD_TTL, "gone by its own word");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
