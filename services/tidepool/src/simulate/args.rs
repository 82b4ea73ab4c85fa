//! What `tidepool simulate` understands.

use std::path::{Path, PathBuf};

use clap::Args;
use jiff::{Span, SpanRelativeTo, Timestamp};
use tidepool_sim::contest::{USUAL, check_name};
use tidepool_sim::model::Model;
use tidepool_sim::smooth::Smoothing;

/// Most requests a second on average: some nanoseconds each make a simulated day last a quarter of an hour.
const RATE_MAX: f64 = 1_000_000.0;

/// Which run to simulate.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("load").required(true))]
pub(crate) struct SimulateArgs {
    /// Trace to run: CSV with the header timestamp_s,requests; the step between rows is the bin
    #[arg(long, value_name = "FILE", group = "load")]
    pub(crate) trace: Option<PathBuf>,
    /// Built-in load to run instead of a trace
    #[arg(long, value_name = "NAME", group = "load", value_parser = tidepool_sim::scenario::NAMES)]
    pub(crate) scenario: Option<String>,
    /// Run every trace of this folder at every start-up time and size, and write the table
    #[arg(long, value_name = "DIR", group = "load", requires = "out")]
    pub(crate) table: Option<PathBuf>,
    /// Where the table goes; cells that are there already are not run again
    #[arg(long, value_name = "DIR", requires = "table")]
    pub(crate) out: Option<PathBuf>,
    /// Start-up times of the table
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "10s,30s,120s", value_parser = seconds, requires = "table")]
    pub(crate) boots: Vec<f64>,
    /// Mean numbers of busy workers of the table
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "20,200",
        requires = "table"
    )]
    pub(crate) sizes: Vec<f64>,
    /// Time of the trace's first row [default: 1970-01-01T00:00:00Z]
    #[arg(long, value_name = "RFC3339", value_parser = start_ms)]
    pub(crate) start: Option<u64>,
    /// Time zone in which hourly patterns are learned
    #[arg(long, value_name = "IANA", default_value = "UTC")]
    pub(crate) zone: String,
    /// Do not learn hourly patterns
    #[arg(long)]
    pub(crate) no_profile: bool,
    /// Policies to compare: tidepool, threshold, clairvoyant (the bound), or a rival: hpa, hpa-cpu,
    /// kpa, ray, aws, threshold80, static, with another target as in kpa@0.8
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = USUAL.map(String::from))]
    pub(crate) policy: Vec<String>,
    /// Mean number of busy workers that the trace is scaled to
    #[arg(long, value_name = "N", default_value_t = 20.0, value_parser = workers)]
    pub(crate) mean_workers: f64,
    /// Mean time from launch to ready
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = seconds)]
    pub(crate) boot: f64,
    /// Fewest workers; 0 lets the pool fall asleep
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) min: u32,
    /// Concurrent places in a worker
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) slots: u32,
    /// Mean time that a request holds a place
    #[arg(long, value_name = "DURATION", default_value = "0.5s", value_parser = seconds)]
    pub(crate) service_mean: f64,
    /// Coefficient of variation of that time
    #[arg(long, value_name = "CV", default_value_t = 1.0)]
    pub(crate) service_cv: f64,
    /// Waiting for a place longer than this is late
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = seconds)]
    pub(crate) late_after: f64,
    /// Part of the trace to learn from; a trace that is not longer is scored whole
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = seconds)]
    pub(crate) train: f64,
    /// Days to score
    #[arg(long, value_name = "N", default_value_t = 7.0, value_parser = days)]
    pub(crate) days: f64,
    /// How chance is taken out of the trace before it is scaled: a (mild, harder) or b
    #[arg(long, value_name = "NAME", default_value = "b", value_parser = smoothing)]
    pub(crate) smoothing: Smoothing,
    /// First seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Number of seeds; figures are means over them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub(crate) seeds: u64,
    /// Runs at a time [default: one a core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Write a page with charts of the first seed
    #[arg(long, value_name = "FILE", conflicts_with = "table")]
    pub(crate) html: Option<PathBuf>,
}

impl SimulateArgs {
    /// The pool that is asked for, not yet sized.
    pub(crate) fn model(&self) -> Model {
        Model {
            slots: self.slots,
            service_mean_s: self.service_mean,
            service_cv: self.service_cv,
            startup_s: self.boot,
            late_after_s: self.late_after,
            workers_min: self.min,
            ..Model::default()
        }
    }

    /// Requests a second that the flags add up to, on average.
    fn rate(&self, mean_workers: f64) -> f64 {
        mean_workers * f64::from(self.slots) / self.service_mean
    }

    /// What the types of the flags do not tell.
    ///
    /// # Errors
    /// With the flags and what is wrong with them.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.model()
            .validate()
            .map_err(|fault| format!("--{fault}"))?;
        let sizes = self.table.is_some().then_some(self.sizes.as_slice());
        for size in sizes.unwrap_or(&[self.mean_workers]) {
            let rate = self.rate(*size);
            if rate > RATE_MAX {
                return Err(format!(
                    "--mean-workers {size} with --slots {} and --service-mean {} s make {rate:.0} requests/s; \
                     {RATE_MAX:.0} are the most that is simulated",
                    self.slots, self.service_mean
                ));
            }
        }
        if self.policy.is_empty() {
            return Err("--policy names no policy to run".to_owned());
        }
        for name in &self.policy {
            check_name(name).map_err(|fault| format!("--policy: {fault}"))?;
        }
        // Found out now, and not when all has been simulated.
        let folder = self.html.as_deref().and_then(Path::parent);
        match folder.filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
            Some(folder) => Err(format!("--html: there is no folder {}", folder.display())),
            None => Ok(()),
        }
    }

    /// Seeds in order.
    pub(crate) fn seed_list(&self) -> Vec<u64> {
        (0..self.seeds).map(|n| self.seed.wrapping_add(n)).collect()
    }

    /// Runs at a time.
    pub(crate) fn thread_count(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.unwrap_or_else(cores).max(1)
    }
}

/// Seconds of a duration such as `30s`, `0.5s` or `7d`.
fn seconds(text: &str) -> Result<f64, String> {
    let span: Span = text
        .parse()
        .map_err(|_| "expected a duration such as 30s, 500ms, 2h or 7d".to_owned())?;
    let duration = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|fault| fault.to_string())?;
    let seconds = duration.as_secs_f64();
    if (0.0..=1e8).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("expected a duration of 0 s to three years".to_owned())
    }
}

fn start_ms(text: &str) -> Result<u64, String> {
    let at: Timestamp = text
        .parse()
        .map_err(|_| "expected a time such as 2026-01-31T12:00:00Z".to_owned())?;
    u64::try_from(at.as_millisecond()).map_err(|_| "expected a time after 1970".to_owned())
}

fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(format!("expected {least} to {most}"))
    }
}

fn workers(text: &str) -> Result<f64, String> {
    number(text, 0.1, 10_000.0)
}

fn days(text: &str) -> Result<f64, String> {
    number(text, 0.01, 400.0)
}

fn smoothing(text: &str) -> Result<Smoothing, String> {
    Smoothing::named(text).ok_or_else(|| "expected a or b".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, wanted) in [
            ("30s", 30.0),
            ("0.5s", 0.5),
            ("500ms", 0.5),
            ("7d", 604_800.0),
            ("2h", 7_200.0),
        ] {
            assert_eq!(seconds(text), Ok(wanted), "{text}");
        }
        for text in ["", "30", "soon", "-5s"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_and_numbers_out_of_range_are_refused() {
        assert_eq!(start_ms("1970-01-01T00:00:01Z"), Ok(1_000));
        assert!(start_ms("1960-01-01T00:00:01Z").is_err());
        assert!(start_ms("yesterday").is_err());
        assert!(workers("0").is_err() && workers("nan").is_err());
        assert!(days("1000").is_err());
    }
}
