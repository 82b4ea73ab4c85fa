//! A wall clock that does not jump: it is read once, and from then on only time that really passed
//! is added.

use std::time::{Instant, SystemTime};

use tidepool_core::Timestamp;

/// Wall time of now plus the time that has passed since, at every call.
pub fn steady_wall_clock() -> impl Fn() -> Timestamp + Send + Sync + 'static {
    let wall = Timestamp::from(SystemTime::now());
    let start = Instant::now();
    move || wall.after(start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_back_and_begins_at_the_wall_clock() {
        let before = Timestamp::from(SystemTime::now());
        let clock = steady_wall_clock();
        let first = clock();
        assert!(first >= before);
        assert!(clock() >= first);
    }
}
