//! How a pattern fares on a recorded trace, second by second.
//!
//! `score TRACE.csv --start 1995-08-04T04:00:00Z [--zone America/New_York] [--rate 400] [--days 28]`
//!
//! The trace (`timestamp_s,requests`) is scaled to a mean rate, drawn as a line through the middles
//! of its bins, and arrivals are drawn from it by chance (Poisson). One line per lead is printed.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::{error::Error, fs, time::Instant};

use jiff::Timestamp;
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

fn print_bursts(pattern: &Pattern, requests: f64) {
    let account = pattern.burst_account();
    let phases = pattern.burst_phases();
    let proven = phases.iter().filter(|phase| phase.proven);
    let proven: Vec<_> = proven
        .map(|phase| {
            format!(
                "{}:{:02} x{:.1} {:.0}%",
                phase.minute / 60,
                phase.minute % 60,
                phase.factor,
                phase.share * 100.0
            )
        })
        .collect();
    println!(
        "       bursts: cost {:.3} %, in time for {:.3} % of requests; {}",
        100.0 * account.cost / requests,
        100.0 * account.avoided / requests,
        proven.join(", "),
    );
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    let trace = Trace::read(&options)?;
    println!(
        "{:>6} {:>9} {:>9} {:>6} {:>9} {:>9} {:>8} {:>8} {:>7} {:>7} {:>7}",
        "lead",
        "profile",
        "last",
        "ratio",
        "cover",
        "believed",
        "growth",
        "return",
        "aside",
        "recur",
        "ns/obs"
    );
    for lead_s in LEADS_S {
        let mut pattern = Pattern::new(Config::in_zone(&options.zone))?;
        let mut random = fastrand::Rng::with_seed(7);
        let (mut believed, mut asked, mut busy_ns) = (0_u64, 0_u64, 0_u128);
        for second in 0..trace.seconds() {
            let arrivals = poisson(&mut random, trace.rate(second));
            let at_ms = options.start_ms + (second + 1) * 1_000;
            let begun = (second % 64 == 0).then(Instant::now);
            pattern.observe(at_ms, 1.0, arrivals);
            let forecast = pattern.forecast(at_ms, lead_s);
            busy_ns += begun.map_or(0, |begun| begun.elapsed().as_nanos());
            asked += 1;
            believed += u64::from(forecast.is_some_and(|forecast| forecast.believed));
        }
        let quality = pattern.quality()[0];
        let days = pattern.days();
        println!(
            "{:>6} {:>9.5} {:>9.5} {:>6.3} {:>9.4} {:>9.3} {:>8.2} {:>8.2} {:>7} {:>7} {:>7}",
            lead_s,
            quality.profile_loss_mean,
            quality.last_value_loss_mean,
            quality.profile_loss_mean / quality.last_value_loss_mean,
            quality.coverage_mean.unwrap_or(0.0),
            believed as f64 / asked as f64,
            quality.growth_share,
            quality.return_share,
            days.put_aside,
            days.recurred,
            busy_ns * 64 / u128::from(asked),
        );
        print_bursts(&pattern, trace.seconds() as f64 * options.rate);
    }
    Ok(())
}
