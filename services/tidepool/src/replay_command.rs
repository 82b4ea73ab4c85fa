//! `tidepool replay`: decides everything in the decision log again, and tells what comes out
//! differently. Works on the files, also while a process writes to them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidepool_core::order::order_duration;
use tidepool_core::{PoolName, Timestamp};
use tidepool_supervisor::decision_log::{Damage, Replay, ReplayReport, read};

use crate::cli::{GlobalArgs, Output, ReplayArgs};
use crate::config_command::refuse;
use crate::exit::Exit;
use crate::settings;
use crate::terminal::{Printer, stdout};

/// Replays the log that the command line or else the configuration names.
pub(crate) fn run(global: &GlobalArgs, args: &ReplayArgs) -> Exit {
    let inputs = global.calling(std::env::vars_os().collect());
    match settings::load(&inputs) {
        Ok(loaded) => {
            let dir = loaded.settings.controller.decision_log.dir;
            Exit::of(replay(args, &dir, global.output))
        }
        Err(invalid) => refuse(&invalid),
    }
}

fn replay(args: &ReplayArgs, configured: &Path, output: Output) -> anyhow::Result<()> {
    let dir: PathBuf = args.from.clone().unwrap_or_else(|| configured.to_owned());
    let now = Timestamp::from(std::time::SystemTime::now());
    let since = match args.since.as_deref() {
        Some(text) => moment(text, now)?,
        None => Timestamp::default(),
    };
    let mut replay = Replay::new(args.pool.clone(), since);
    let mut pools = BTreeSet::new();
    let damages = read(&dir, |record| {
        if !pools.contains(&record.pool) {
            pools.insert(record.pool.clone());
        }
        replay.see(record);
    })?;
    if let Some(pool) = args.pool.as_ref().filter(|pool| !pools.contains(*pool)) {
        return Err(unknown(pool, &pools, &dir, &damages));
    }
    let report = replay.report();
    tell(&report, &damages, &mut stdout(output))?;
    anyhow::ensure!(
        report.different == 0,
        "{} decisions came out differently",
        report.different
    );
    anyhow::ensure!(damages.is_empty(), "a part of the log cannot be read");
    Ok(())
}

/// Nothing of such a pool was replayed, and that is no proof of anything.
fn unknown(
    pool: &PoolName,
    pools: &BTreeSet<PoolName>,
    dir: &Path,
    damages: &[Damage],
) -> anyhow::Error {
    let named: Vec<_> = pools.iter().map(PoolName::as_str).collect();
    let there = match named.as_slice() {
        [] => "it holds no decisions at all".to_owned(),
        _ => format!("there are {}", named.join(", ")),
    };
    let unread = match damages.first() {
        Some(damage) => format!("; a part of {} cannot be read", damage.file.display()),
        None => String::new(),
    };
    let dir = dir.display();
    anyhow::anyhow!("there is no pool '{pool}' in the log in {dir}: {there}{unread}")
}

fn moment(text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    if let Ok(ago) = order_duration(text) {
        let ago_ms = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        return Ok(Timestamp(now.0.saturating_sub(ago_ms)));
    }
    Timestamp::read(text).ok_or_else(|| {
        anyhow::anyhow!(
            "--since is '{text}'; it must be a time such as 2026-11-20T20:00:00Z, or how long \
             ago, such as 2h"
        )
    })
}

fn document(report: &ReplayReport, damages: &[Damage]) -> Value {
    let damage =
        |damage: &Damage| json!({"file": damage.file, "at": damage.at, "problem": damage.problem});
    json!({
        "identical": report.different == 0 && damages.is_empty(),
        "pools": report.pools,
        "different": report.different,
        "differences": report.differences,
        "damages": damages.iter().map(damage).collect::<Vec<_>>(),
    })
}

fn tell<W: std::io::Write>(
    report: &ReplayReport,
    damages: &[Damage],
    printer: &mut Printer<W>,
) -> anyhow::Result<()> {
    if printer.form != Output::Text {
        return Ok(printer.json(&document(report, damages))?);
    }
    if report.pools.is_empty() {
        printer.line("the log holds no decisions of that pool and time")?;
    }
    for (pool, replayed) in &report.pools {
        let different = report
            .differences
            .iter()
            .filter(|d| d.pool == *pool)
            .count();
        let verdict = match different {
            0 => "identical".to_owned(),
            n => format!("{n} different"),
        };
        printer.line(&format!(
            "{pool}: {verdict}; {} decisions, {} changes of the target, {} snapshots, {} skipped \
             for want of what came before",
            replayed.decisions, replayed.changes, replayed.snapshots, replayed.skipped
        ))?;
    }
    for difference in &report.differences {
        printer.line(&format!(
            "{} record {} at {} (written by {})\n  logged:   {}\n  replayed: {}",
            difference.pool,
            difference.seq,
            difference.at,
            difference.version,
            difference.logged,
            difference.replayed
        ))?;
    }
    for damage in damages {
        printer.line(&format!(
            "{}: from byte {} on it cannot be read: {}",
            damage.file.display(),
            damage.at,
            damage.problem
        ))?;
    }
    Ok(())
}

/// A pool's name as it is typed.
pub(crate) fn pool_name(text: &str) -> Result<PoolName, String> {
    PoolName::new(text).map_err(|error| error.to_string())
}
