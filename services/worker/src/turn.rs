//! What actors do at the beat of a timer. A panic there would end the actor, and with it all that it
//! looks after; nobody would start another.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Does one turn of a timer. A panic costs what was left of it; the next turn looks at the facts anew.
pub fn turn(actor: &'static str, work: impl FnOnce()) {
    // The panic hook has told where.
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        tracing::error!(actor, "a timer panicked; the next one goes on");
    }
}
