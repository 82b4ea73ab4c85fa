//! CPU and memory as workers needed.

use serde::{Deserialize, Serialize};

use crate::ewma::{Ewma, clean, share};
use crate::observation::{CpuSample, MemorySample};

/// Share of a resource that a worker should use at most.
const FULL: f64 = 0.8;
const CPU_MEMORY_S: f64 = 10.0;
const CORRELATION_MEMORY_S: f64 = 600.0;
/// Squared correlation above which memory follows the work.
const FOLLOWS: f64 = 0.5;

/// What is remembered of CPU and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Resources {
    cores: Ewma,
    busy: Ewma,
    bytes: Ewma,
    busy_busy: Ewma,
    bytes_bytes: Ewma,
    busy_bytes: Ewma,
}

impl Resources {
    /// Takes in the CPU of a step of `dt_s` seconds.
    pub(crate) fn observe_cpu(&mut self, dt_s: f64, cpu: &CpuSample) {
        self.cores
            .add(clean(cpu.used_cores), share(dt_s, CPU_MEMORY_S));
    }

    /// Takes in memory beside the slots that were busy, both by worker: a fleet that follows the
    /// load brings the memory of its own with it, leaked or not.
    pub(crate) fn observe_memory(
        &mut self,
        dt_s: f64,
        memory: &MemorySample,
        busy: f64,
        ready: u32,
    ) {
        if ready == 0 {
            return;
        }
        let part = share(dt_s, CORRELATION_MEMORY_S);
        let busy = busy / f64::from(ready);
        // Megabytes, so that squares keep their digits.
        let bytes = clean(memory.used_bytes) / 1e6 / f64::from(ready);
        self.busy.add(busy, part);
        self.bytes.add(bytes, part);
        self.busy_busy.add(busy * busy, part);
        self.bytes_bytes.add(bytes * bytes, part);
        self.busy_bytes.add(busy * bytes, part);
    }

    /// Workers that keep each below 80 % of the cores it can use.
    pub(crate) fn cpu_need(&self, cpu: &CpuSample) -> Option<f64> {
        let quota = clean(cpu.quota_cores_per_worker);
        (quota > 0.0).then(|| self.cores.value() / (FULL * quota))
    }

    /// Workers that keep each below 80 % of its working memory; nothing unless memory follows the
    /// work, because a leak or a cache is not demand.
    pub(crate) fn memory_need(&self, memory: &MemorySample, have: u32) -> Option<f64> {
        let idle = clean(memory.idle_bytes_per_worker);
        let room = clean(memory.limit_bytes_per_worker) - idle;
        let working = clean(memory.used_bytes) - idle * f64::from(have);
        (room > 0.0 && self.r_squared() > FOLLOWS).then(|| working.max(0.0) / (FULL * room))
    }

    fn r_squared(&self) -> f64 {
        let (x, y) = (self.busy.value(), self.bytes.value());
        let covariance = self.busy_bytes.value() - x * y;
        let variance_x = self.busy_busy.value() - x * x;
        let variance_y = self.bytes_bytes.value() - y * y;
        let product = variance_x * variance_y;
        if covariance > 0.0 && product > 1e-12 {
            covariance * covariance / product
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(used_bytes: f64) -> MemorySample {
        MemorySample {
            used_bytes,
            idle_bytes_per_worker: 10e6,
            limit_bytes_per_worker: 110e6,
        }
    }

    #[test]
    fn cpu_asks_for_a_fifth_more_than_is_used() {
        let mut resources = Resources::default();
        let cpu = CpuSample {
            used_cores: 4.0,
            quota_cores_per_worker: 1.0,
        };
        resources.observe_cpu(1.0, &cpu);
        assert_eq!(resources.cpu_need(&cpu), Some(5.0));
    }

    #[test]
    fn memory_counts_only_while_it_follows_the_work() {
        let mut follows = Resources::default();
        let mut leaks = Resources::default();
        for s in 0..600_u32 {
            let busy = f64::from(s % 20);
            follows.observe_memory(1.0, &memory(20e6 + busy * 10e6), busy, 2);
            leaks.observe_memory(1.0, &memory(20e6 + f64::from(s) * 1e5), busy, 2);
        }
        let need = follows.memory_need(&memory(180e6), 2).unwrap();
        assert!((need - 2.0).abs() < 1e-9, "{need}");
        assert_eq!(leaks.memory_need(&memory(180e6), 2), None);
        // A fleet that follows its load, of workers that are all half full of what they leaked.
        let mut fleet = Resources::default();
        for s in 0..600_u32 {
            let ready = 10 + s % 20;
            let noise = f64::from(s * 7_919 % 13) / 13.0;
            let busy = f64::from(ready) * (7.5 + noise);
            fleet.observe_memory(1.0, &memory(f64::from(ready) * 60e6), busy, ready);
        }
        assert_eq!(fleet.memory_need(&memory(20.0 * 60e6), 20), None);
    }
}
