//! One run from the first check to the report: start the generator, watch the pool, mind the
//! interrupt, clean up.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::client::{Client, Target, plain};
use crate::error::Error;
use crate::generator::Generator;
use crate::progress::Progress;
use crate::report::{Circumstances, Report, Scaling};
use crate::scenario::Scenario;
use crate::watch::{Operator, Watcher, cause};

/// How often the progress bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// Longest that the first check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the clean-up may take in all.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs `scenario` against `target` until its plan ends or `interrupt` completes.
pub(crate) async fn run(
    scenario: Scenario,
    target: &Target,
    operator: Option<Operator>,
    interrupt: impl Future<Output = ()>,
) -> Result<Report, Error> {
    check(target).await?;
    let scenario = Arc::new(scenario);
    let started_at = jiff::Timestamp::now().to_string();
    let generator = Generator::start(&scenario, target).map_err(Error::Generator)?;
    let mut watcher = operator
        .map(|o| Watcher::new(o, &scenario.pool, generator.start, scenario.plan.duration()))
        .transpose()
        .map_err(Error::Generator)?;
    let (results, interrupted) = drive(&scenario, generator, watcher.as_mut(), interrupt).await;
    let results = results.map_err(Error::Generator)?;
    let mut notes = clean_up(&scenario, target).await;
    let scaling = match watcher {
        Some(mut watcher) => {
            watcher.look().await;
            notes.extend(watcher.trouble);
            Scaling::new(
                &scenario.pool,
                &scenario.plan,
                watcher.samples,
                watcher.decisions,
            )
        }
        None => None,
    };
    let circumstances = Circumstances {
        target: target.api.to_string(),
        started_at,
        interrupted,
        notes,
    };
    Ok(Report::new(&scenario, &results, scaling, circumstances))
}

/// Asks for any answer at all, so that a server that is not there is said at once.
async fn check(target: &Target) -> Result<(), Error> {
    let unreachable = |reason: String| Error::Unreachable {
        url: target.api.to_string(),
        reason,
    };
    let http = plain(CHECK_TIMEOUT).map_err(unreachable)?;
    let answer = http.get(target.url("/livez")).send().await;
    answer.map(drop).map_err(|e| unreachable(cause(&e)))
}

/// Keeps the watcher and the progress bar going until the generator is done.
async fn drive(
    scenario: &Scenario,
    generator: Generator,
    watcher: Option<&mut Watcher>,
    interrupt: impl Future<Output = ()>,
) -> (Result<crate::generator::Results, String>, bool) {
    let progress = Progress::new(&scenario.plan);
    let (live, start) = (Arc::clone(&generator.live), generator.start);
    let stopper = generator.stopper();
    let mut watching = pin!(watch(watcher));
    let mut interrupt = pin!(interrupt);
    let mut finished = pin!(generator.finish());
    let mut draws = tokio::time::interval(DRAW_EVERY);
    draws.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut interrupted = false;
    let results = loop {
        tokio::select! {
            results = &mut finished => break results,
            () = &mut interrupt, if !interrupted => {
                interrupted = true;
                stopper.send_replace(true);
            }
            () = &mut watching => {}
            _ = draws.tick() => progress.show(&scenario.plan, &live, start),
        }
    };
    progress.clear();
    (results, interrupted)
}

/// Never completes.
async fn watch(watcher: Option<&mut Watcher>) {
    match watcher {
        Some(watcher) => watcher.run().await,
        None => std::future::pending().await,
    }
}

/// Removes what the bodies left behind; says so when that did not work.
async fn clean_up(scenario: &Scenario, target: &Target) -> Vec<String> {
    let leftovers = scenario.mix.cleanup();
    if leftovers.is_empty() {
        return Vec::new();
    }
    let kinds = scenario.mix.kinds();
    let client = match Client::new(target, kinds, &scenario.headers, scenario.timeout) {
        Ok(client) => client,
        Err(reason) => return vec![format!("nothing was cleaned up: {reason}")],
    };
    let all = async {
        let mut failed = 0_usize;
        for prepared in leftovers {
            let outcome = client.send(prepared).await.outcome;
            failed += usize::from(outcome.class() != crate::outcome::Class::Ok);
        }
        failed
    };
    match tokio::time::timeout(CLEANUP_TIMEOUT, all).await {
        Ok(0) => Vec::new(),
        Ok(failed) => vec![format!(
            "{failed} clean-up requests failed; test data may remain"
        )],
        Err(_) => vec!["the clean-up took too long; test data may remain".to_owned()],
    }
}
