//! How a pattern fares on a recorded trace, second by second, beside the last value and a challenger.
//!
//! `score TRACE.csv --start 1995-08-04T04:00:00Z [--zone America/New_York] [--rate 400] [--days 28]`
//!
//! The trace (`timestamp_s,requests`) is scaled to a mean rate, drawn as a line through the middles
//! of its bins, and arrivals are drawn from it by chance (Poisson). One line per lead is printed:
//! mean pinball losses of the profile and of the last value with their ratio, the challenger's loss
//! over that of the last value on the moments it was judged on, the coverage of the floor (0.95 is
//! asked for), the share of the time in which the profile was believed, the shares of growth and of
//! the way back, odd days put aside and learned after all, nanoseconds to observe and forecast, and
//! milliseconds to fit the challenger.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::{
    error::Error,
    fs,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tidepool_challenger::Challenger;
use tidepool_profile::{Config, Pattern};

const LEADS_S: [f64; 4] = [30.0, 120.0, 600.0, 3_600.0];

struct Options {
    path: String,
    start_ms: u64,
    zone: String,
    rate: f64,
    days: f64,
}

struct Trace {
    bin_s: f64,
    rates: Vec<f64>,
}

impl Trace {
    fn read(options: &Options) -> Result<Self, Box<dyn Error>> {
        let text = fs::read_to_string(&options.path)?;
        let row = |line: &str| -> Option<(f64, f64)> {
            let (at, count) = line.split_once(',')?;
            Some((at.trim().parse().ok()?, count.trim().parse().ok()?))
        };
        let rows: Vec<_> = text.lines().filter_map(row).collect();
        let [first, second, ..] = rows[..] else {
            return Err("the trace needs two rows of `timestamp_s,requests`".into());
        };
        let bin_s = second.0 - first.0;
        let mean = rows.iter().map(|row| row.1).sum::<f64>() / rows.len() as f64;
        let last = (options.days * 86_400.0 / bin_s) as usize;
        let scaled = rows
            .iter()
            .take(last)
            .map(|row| row.1 / mean * options.rate);
        let rates = scaled.collect();
        Ok(Self { bin_s, rates })
    }

    fn seconds(&self) -> u64 {
        (self.bin_s * self.rates.len() as f64) as u64
    }

    fn rate(&self, second: u64) -> f64 {
        let place = (second as f64 + 0.5) / self.bin_s - 0.5;
        let bin = (place.max(0.0) as usize).min(self.rates.len() - 1);
        let next = (bin + 1).min(self.rates.len() - 1);
        let share = (place - bin as f64).clamp(0.0, 1.0);
        self.rates[bin] + (self.rates[next] - self.rates[bin]) * share
    }
}

fn poisson(random: &mut fastrand::Rng, mean: f64) -> f64 {
    if mean > 40.0 {
        let (u, v) = (1.0 - random.f64(), random.f64());
        let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        return (mean + mean.sqrt() * normal).round().max(0.0);
    }
    let (limit, mut product, mut count) = ((-mean).exp(), random.f64(), 0.0);
    while product > limit {
        product *= random.f64();
        count += 1.0;
    }
    count
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut options = Options {
        path: String::new(),
        start_ms: 0,
        zone: "UTC".to_owned(),
        rate: 400.0,
        days: 10_000.0,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--start" => {
                let start: Timestamp = value()?.parse()?;
                options.start_ms = u64::try_from(start.as_millisecond())?;
            }
            "--zone" => options.zone = value()?,
            "--rate" => options.rate = value()?.parse()?,
            "--days" => options.days = value()?.parse()?,
            _ => options.path = word,
        }
    }
    Ok(options)
}

/// What a run over a trace came to.
struct Run {
    pattern: Pattern,
    believed: u64,
    seconds: u64,
    busy: Duration,
    fits: u32,
    refused: u32,
    fitting: Duration,
}

fn run(options: &Options, trace: &Trace, lead_s: f64) -> Result<Run, Box<dyn Error>> {
    let mut run = Run {
        pattern: Pattern::new(Config::in_zone(&options.zone))?,
        believed: 0,
        seconds: trace.seconds(),
        busy: Duration::ZERO,
        fits: 0,
        refused: 0,
        fitting: Duration::ZERO,
    };
    let mut challenger = Challenger::default();
    let mut random = fastrand::Rng::with_seed(7);
    let mut hour = Vec::with_capacity(3_600);
    for begin in (0..run.seconds).step_by(3_600) {
        let seconds = begin..(begin + 3_600).min(run.seconds);
        hour.clear();
        hour.extend(
            seconds
                .clone()
                .map(|second| poisson(&mut random, trace.rate(second))),
        );
        let at_ms = |second: u64| options.start_ms + (second + 1) * 1_000;
        let begun = Instant::now();
        for (second, arrivals) in seconds.clone().zip(&hour) {
            run.pattern.observe(at_ms(second), 1.0, *arrivals);
            let forecast = run.pattern.forecast(at_ms(second), lead_s);
            run.believed += u64::from(forecast.is_some_and(|forecast| forecast.believed));
        }
        run.busy += begun.elapsed();
        for (second, arrivals) in seconds.zip(&hour) {
            challenger.observe(at_ms(second), 1.0, *arrivals);
        }
        run.fit(&mut challenger, at_ms(begin + 3_599));
    }
    Ok(run)
}

impl Run {
    fn fit(&mut self, challenger: &mut Challenger, now_ms: u64) {
        let Some(training) = challenger.training(now_ms) else {
            return;
        };
        let begun = Instant::now();
        let fitted = training.fit();
        self.fitting += begun.elapsed();
        self.fits += 1;
        match fitted {
            Ok(challenge) => self.pattern.challenge(challenge),
            Err(_) => self.refused += 1,
        }
    }

    fn print(&self, requests: f64) {
        let quality = self.pattern.quality()[0];
        let contest = self.pattern.contest()[0];
        let days = self.pattern.days();
        println!(
            "{:>6} {:>8.4} {:>8.4} {:>6.3} {:>10.3} {:>6.4} {:>8.2} {:>6.2} {:>6.2} {:>4}/{:<3} {:>5.0} {:>7.1}",
            quality.lead_s,
            quality.profile_loss_mean,
            quality.last_value_loss_mean,
            quality.profile_loss_mean / quality.last_value_loss_mean,
            contest.challenger_loss / contest.last_value_loss,
            quality.coverage_mean.unwrap_or(0.0),
            self.believed as f64 / self.seconds as f64,
            quality.growth_share,
            quality.return_share,
            days.put_aside,
            days.recurred,
            self.busy.as_nanos() as f64 / self.seconds as f64,
            self.fitting.as_secs_f64() * 1_000.0 / f64::from(self.fits.max(1)),
        );
        if self.refused > 0 {
            println!(
                "       the challenger refused {} of {} fits",
                self.refused, self.fits
            );
        }
        print_bursts(&self.pattern, requests);
    }
}

fn print_bursts(pattern: &Pattern, requests: f64) {
    let account = pattern.burst_account();
    if account.cost == 0.0 && account.avoided == 0.0 {
        return;
    }
    let phases = pattern.burst_phases();
    let proven = phases.iter().filter(|phase| phase.proven).map(|phase| {
        let (hour, minute) = (phase.minute / 60, phase.minute % 60);
        format!(
            "{hour}:{minute:02} x{:.1} {:.0} %",
            phase.factor,
            phase.share * 100.0
        )
    });
    println!(
        "       bursts: {:.3} % of requests in time for {:.3} % more capacity; {}",
        100.0 * account.avoided / requests,
        100.0 * account.cost / requests,
        proven.collect::<Vec<_>>().join(", "),
    );
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    let trace = Trace::read(&options)?;
    println!(
        "{:>6} {:>8} {:>8} {:>6} {:>10} {:>6} {:>8} {:>6} {:>6} {:>8} {:>5} {:>7}",
        "lead_s",
        "profile",
        "last",
        "ratio",
        "challenger",
        "cover",
        "believed",
        "growth",
        "return",
        "odd/back",
        "ns",
        "fit_ms"
    );
    for lead_s in LEADS_S {
        let run = run(&options, &trace, lead_s)?;
        run.print(trace.seconds() as f64 * options.rate);
    }
    Ok(())
}
