//! Work per second, from requests.

/// Adds requests up to the work that each second brings.
///
/// A request that starts on arrival holds a slot from then on for its service time; in each second
/// it brings as much work as it holds of that second. A request that starts up to a second late
/// holds every part of its slot time up to a second later. So any schedule in which nobody waits
/// longer than a second serves, up to each second, at most the work that came by then and at least
/// what came a second before, which is all that the bound asks for: it holds for single requests of
/// any length, not just for a fluid.
#[derive(Clone, Debug)]
pub struct OfferedWork {
    /// Slot-seconds in second `t` that begin or end within it.
    edges: Vec<f64>,
    /// Change in second `t` of the slots that are held throughout.
    change: Vec<f64>,
}

impl OfferedWork {
    /// No work yet for that many seconds.
    #[must_use]
    pub fn new(seconds: usize) -> Self {
        Self {
            edges: vec![0.0; seconds],
            change: vec![0.0; seconds],
        }
    }

    /// Adds a request that arrives at `at_s` seconds and holds a slot for `service_s` seconds. What
    /// lies before zero or past the end is left out, and so is a request of no finite length.
    pub fn add(&mut self, at_s: f64, service_s: f64) {
        // Before `min` and `max`, which would drop what is no number.
        if !(at_s + service_s).is_finite() {
            return;
        }
        let end_s = (at_s + service_s).min(self.edges.len() as f64);
        let at_s = at_s.max(0.0);
        if at_s >= end_s {
            return;
        }
        let (first, last) = (at_s as usize, end_s as usize);
        if first == last {
            self.edges[first] += end_s - at_s;
            return;
        }
        self.edges[first] += (first + 1) as f64 - at_s;
        if let Some(edge) = self.edges.get_mut(last) {
            *edge += end_s - last as f64;
        }
        if let Some(change) = self.change.get_mut(first + 1) {
            *change += 1.0;
        }
        if let Some(change) = self.change.get_mut(last) {
            *change -= 1.0;
        }
    }

    /// Worker-seconds per second, for workers with that many slots; zero is taken as one.
    #[must_use]
    pub fn per_second(&self, slots_per_worker: u32) -> Vec<f64> {
        let slots = f64::from(slots_per_worker.max(1));
        let mut held = 0.0;
        self.edges
            .iter()
            .zip(&self.change)
            .map(|(edge, change)| {
                held += change;
                (edge + held).max(0.0) / slots
            })
            .collect()
    }
}
