//! The storm over a cluster of containers that Compose has started: the same load and the same plan,
//! but the engine kills, pauses and starts. Containers are found by the labels that Compose gives them,
//! and only those of the named project are touched.

use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::Instant;

use crate::check::{self, Demands, Verdict};
use crate::client::{Callers, micros};
use crate::cluster::Who;
use crate::history::{self, Fault, FaultKind, Found, Header, Line, Recorder, RequestKind};
use crate::scenario::{self, Act, Length, Scenario, Step, Whom};

/// The scenario that is played.
const SCENARIO: &str = "storm";
/// Longest time that an operation of the engine may take.
const ENGINE_MAX: Duration = Duration::from_secs(30);

/// A cluster of containers, and how long it is to suffer.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the project.
    pub project: String,
    /// `host:port` of its balancers.
    pub balancers: Vec<String>,
    /// `host:port` of the operator APIs of its controllers, as their services are numbered.
    pub controllers: Vec<String>,
    /// What clients show.
    pub api_token: String,
    /// What operators show.
    pub operator_token: String,
    /// How long, in seconds; unset: as the scenario says.
    pub seconds: Option<u64>,
    /// Everything drawn follows from it.
    pub seed: u64,
    /// Where the history goes.
    pub history: PathBuf,
}

/// What is played.
///
/// # Panics
/// Never: the scenario is in the table.
#[must_use]
pub fn storm() -> Scenario {
    let storm = scenario::find(SCENARIO).expect("the table has it");
    Scenario {
        demands: Demands {
            // Redis is not published, so what is wanted cannot be followed from here; and the file for
            // Compose bounds the memory of all.
            desired_min: None,
            takeover_ms: None,
            rss_max_mib: None,
            ..storm.demands.clone()
        },
        ..storm
    }
}

/// Plays the storm, unless `stop` ends before it does, and says why.
///
/// # Errors
/// When it could not be made as planned, or was stopped; nothing was shown then. What was paused or
/// killed runs again in any case, as far as the engine does what it is told; so this is not to be
/// dropped, but stopped.
pub async fn run(
    options: &Options,
    stop: impl Future<Output = anyhow::Error>,
) -> anyhow::Result<Verdict> {
    let mut stop = pin!(stop);
    let scenario = storm();
    let recorder = Recorder::create(&options.history)?;
    let length = Length::of(options.seconds.unwrap_or(scenario.seconds));
    let plan = (scenario.plan)(length, &mut fastrand::Rng::with_seed(options.seed));
    let header = Header::new(&scenario, options.seed);
    recorder.add(Line::Header(Box::new(header))).await;

    let begun = Instant::now();
    let token = options.api_token.clone();
    let callers = Callers::new(
        options.balancers.clone(),
        token,
        recorder.clone(),
        scenario.load,
        begun,
        None,
    )?;
    let sender = callers.clone();
    let sending = tokio::spawn(async move { sender.send(length.all(), |_| 1.0).await });
    let mut hand = Hand {
        options,
        recorder: recorder.clone(),
        begun,
        open: Vec::new(),
        leader: None,
    };
    let end = length.calm + length.faults;
    if let Err(error) = hand.play(&plan, end, stop.as_mut()).await {
        sending.abort();
        return Err(error);
    }
    let looking = async {
        let planned = sending.await?;
        for id in (0..planned).filter(|id| scenario.load.kind(*id) == RequestKind::Note) {
            let times = callers.find(id).await?;
            recorder.add(Line::Found(Found { id, times })).await;
        }
        recorder.add(Line::End { planned }).await;
        recorder.flush().await?;
        Ok(check::judge(&history::read(&options.history)?))
    };
    // Nothing is hurt any more.
    tokio::select! {
        verdict = looking => verdict,
        why = stop => Err(why),
    }
}

/// What undoes a fault.
fn undo_of(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Frozen => "unpause",
        _ => "start",
    }
}

/// Sleeps, unless it is told to stop.
async fn sleep_unless(
    mut stop: Pin<&mut impl Future<Output = anyhow::Error>>,
    until: Instant,
) -> anyhow::Result<()> {
    tokio::select! {
        why = stop.as_mut() => Err(why),
        () = tokio::time::sleep_until(until) => Ok(()),
    }
}

/// Does what the plan says through the engine.
struct Hand<'a> {
    options: &'a Options,
    recorder: Recorder,
    begun: Instant,
    open: Vec<Fault>,
    /// Who led when it was hurt.
    leader: Option<String>,
}

impl Hand<'_> {
    /// Nothing is left as it was hurt, however this ends.
    async fn play(
        &mut self,
        plan: &[Step],
        end: Duration,
        stop: Pin<&mut impl Future<Output = anyhow::Error>>,
    ) -> anyhow::Result<()> {
        let mut played = self.steps(plan, end, stop).await;
        for fault in std::mem::take(&mut self.open) {
            let undone = self.engine(&[undo_of(fault.kind)], &fault.target).await;
            played = played.and(undone);
            self.write_down(fault).await;
        }
        played
    }

    /// Stops between two steps only: of one that was broken off nobody knows what the engine has made.
    async fn steps(
        &mut self,
        plan: &[Step],
        end: Duration,
        mut stop: Pin<&mut impl Future<Output = anyhow::Error>>,
    ) -> anyhow::Result<()> {
        for step in plan {
            sleep_unless(stop.as_mut(), self.begun + step.at).await?;
            self.act(step.act).await?;
        }
        sleep_unless(stop, self.begun + end).await
    }

    async fn act(&mut self, act: Act) -> anyhow::Result<()> {
        match act {
            Act::Kill(whom) => {
                let service = self.service(whom).await?;
                self.begin(FaultKind::Killed, &service);
                self.engine(&["kill", "--signal", "KILL"], &service).await
            }
            Act::Freeze(whom) => {
                let service = self.service(whom).await?;
                self.begin(FaultKind::Frozen, &service);
                self.engine(&["pause"], &service).await
            }
            Act::Start(whom) => self.undo("start", whom).await,
            Act::Thaw(whom) => self.undo("unpause", whom).await,
            other => bail!("an engine cannot do this: {other:?}"),
        }
    }

    async fn undo(&mut self, how: &str, whom: Whom) -> anyhow::Result<()> {
        let service = self.service(whom).await?;
        self.engine(&[how], &service).await?;
        let is_over = |fault: &mut Fault| fault.target == service;
        for fault in self.open.extract_if(.., is_over).collect::<Vec<_>>() {
            self.write_down(fault).await;
        }
        Ok(())
    }

    /// The service that is meant, as the file for Compose names it. The leader is looked for once.
    async fn service(&mut self, whom: Whom) -> anyhow::Result<String> {
        let number = |role: &str, n: usize| format!("{role}{}", n + 1);
        Ok(match whom {
            Whom::The(Who::Node(n)) => number("node", n),
            Whom::The(Who::Balancer(n)) => number("balancer", n),
            Whom::The(Who::Controller(n)) => number("controller", n),
            Whom::The(Who::Redis) => "redis".to_owned(),
            Whom::The(who) => bail!("there is no service for {}", who.name()),
            Whom::Leader => match self.leader.clone() {
                Some(leader) => leader,
                None => {
                    let leader = number("controller", self.leading().await?);
                    self.leader.insert(leader).clone()
                }
            },
        })
    }

    /// Which controller says that it leads.
    async fn leading(&self) -> anyhow::Result<usize> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(2))
            .build()?;
        for (n, addr) in self.options.controllers.iter().enumerate() {
            let url = format!("http://{addr}/v1/status");
            let asked = http
                .get(url)
                .bearer_auth(&self.options.operator_token)
                .send();
            let status: Value = serde_json::from_slice(&asked.await?.bytes().await?)?;
            let components = status["components"]
                .as_array()
                .context("a status has components")?;
            let leads = components.iter().any(|component| {
                let is_leader = |detail: &str| !detail.starts_with("standby");
                component["component"] == "leadership"
                    && component["detail"].as_str().is_some_and(is_leader)
            });
            if leads {
                return Ok(n);
            }
        }
        bail!("no controller says that it leads")
    }

    /// Has the engine do something to the container of a service.
    async fn engine(&self, what: &[&str], service: &str) -> anyhow::Result<()> {
        let label = |name: &str, value: &str| format!("label=com.docker.compose.{name}={value}");
        let project = label("project", &self.options.project);
        let found = docker(&[
            "ps",
            "-aq",
            "--filter",
            &project,
            "--filter",
            &label("service", service),
        ])
        .await?;
        let containers: Vec<&str> = found.split_whitespace().collect();
        let [container] = containers[..] else {
            bail!(
                "{} has {} containers for {service}",
                self.options.project,
                containers.len()
            );
        };
        docker(&[what, &[container]].concat()).await.map(drop)
    }

    fn begin(&mut self, kind: FaultKind, target: &str) {
        let from_us = micros(self.begun.elapsed());
        self.open.push(Fault {
            kind,
            target: target.to_owned(),
            balancer: None,
            from_us,
            until_us: from_us,
        });
    }

    async fn write_down(&self, fault: Fault) {
        let until_us = micros(self.begun.elapsed());
        self.recorder
            .add(Line::Fault(Fault { until_us, ..fault }))
            .await;
    }
}

async fn docker(args: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new("docker");
    // A group of its own: Ctrl-C is for this process, which has yet to undo what it did.
    let output = command
        .args(args)
        .process_group(0)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(ENGINE_MAX, output)
        .await
        .context("the engine does not answer")??;
    ensure!(
        output.status.success(),
        "docker {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_told_to_stop_does_no_further_step_and_says_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let history = folder.path().join("history");
        let options = Options {
            project: String::new(),
            balancers: Vec::new(),
            controllers: Vec::new(),
            api_token: String::new(),
            operator_token: String::new(),
            seconds: None,
            seed: 1,
            history: history.clone(),
        };
        let mut hand = Hand {
            options: &options,
            recorder: Recorder::create(&history).expect("a recorder"),
            begun: Instant::now(),
            open: Vec::new(),
            leader: None,
        };
        let step = Step {
            at: Duration::from_secs(1_000),
            act: Act::Wipe,
        };
        let stop = pin!(async { anyhow::anyhow!("interrupted") });
        let played = hand.play(&[step], Duration::from_secs(2_000), stop).await;
        assert_eq!(
            played.expect_err("it was stopped").to_string(),
            "interrupted"
        );
    }

    #[test]
    fn what_was_paused_goes_on_and_what_was_killed_is_started() {
        assert_eq!(undo_of(FaultKind::Frozen), "unpause");
        assert_eq!(undo_of(FaultKind::Killed), "start");
    }
}
