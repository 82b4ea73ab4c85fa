//! What is done to a cluster and what must hold meanwhile, as data: the rows of the reliability
//! matrix that concern processes, nodes, Redis, controllers, partitions and upgrades.

mod table;

use std::time::Duration;

use crate::check::Demands;
use crate::client::Load;
use crate::cluster::{Build, Layout, Who};
use crate::history::FaultKind;
use crate::proxy::Weather;

pub use crate::client::Load as ScenarioLoad;
pub use table::{find, table};

/// Whom an act is meant for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whom {
    /// This one.
    The(Who),
    /// The controller that leads when it is hurt; from then on the same one.
    Leader,
}

/// The other side of a cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// All balancers.
    Balancers,
    /// The store.
    Redis,
    /// All other parts.
    Everybody,
}

impl Side {
    /// Who is there.
    #[must_use]
    pub fn parts(self, layout: &Layout) -> Vec<Who> {
        let is_there = |who: &Who| match self {
            Self::Balancers => matches!(who, Who::Balancer(_)),
            Self::Redis => *who == Who::Redis,
            Self::Everybody => true,
        };
        layout.parts().into_iter().filter(is_there).collect()
    }
}

/// Which packets are lost in a cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    /// All.
    Both,
    /// Those to whom it is done: it hears nothing.
    ToIt,
    /// Those from it: it is not heard.
    FromIt,
}

impl Lost {
    /// Who hears nothing of whom.
    #[must_use]
    pub fn pairs(self, who: Who, others: &[Who]) -> Vec<(Who, Who)> {
        let others = others.iter().copied().filter(|other| *other != who);
        let pairs = others.flat_map(|other| match self {
            Self::Both => vec![(who, other), (other, who)],
            Self::ToIt => vec![(who, other)],
            Self::FromIt => vec![(other, who)],
        });
        pairs.collect()
    }
}

/// One thing that is done.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Act {
    /// SIGKILL.
    Kill(Whom),
    /// SIGSTOP.
    Freeze(Whom),
    /// SIGCONT.
    Thaw(Whom),
    /// SIGTERM, and wait until it has ended by itself.
    Stop(Whom),
    /// Starts it again at its old address, and waits until it is ready.
    Start(Whom),
    /// Removes what Redis has kept; it must not run.
    Wipe,
    /// Changes the way to a node through its proxy.
    Weather {
        /// The node, by its place.
        node: usize,
        /// From now on.
        weather: Weather,
        /// What it is a case of; nothing: it is over.
        fault: Option<FaultKind>,
    },
    /// Loses packets between it and others.
    Cut {
        /// To whom it is done.
        whom: Whom,
        /// The others.
        from: Side,
        /// Which packets.
        lost: Lost,
    },
    /// Loses none any more of those to it and from it.
    Heal(Whom),
    /// Leaves no byte free on the disk of the store.
    Fill,
    /// Gives that space back.
    Free,
    /// Lets it be this program when it is started the next time.
    Become(Whom, Build),
    /// Leaves a node so much of a processor; nothing: as much as it likes.
    Starve {
        /// The node, by its place.
        node: usize,
        /// Hundredths of one processor.
        percent: Option<u32>,
    },
    /// Sends so many times as many requests as before; 1 ends it.
    Surge(f64),
    /// Begins, or ends, to throw bytes at the port for links of a node.
    Pelt {
        /// The node, by its place.
        node: usize,
        /// Whether it begins.
        begins: bool,
    },
}

/// An act and its time since the beginning of the run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Step {
    /// When.
    pub at: Duration,
    /// What.
    pub act: Act,
}

/// How long the parts of a run are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Length {
    /// Before the first fault.
    pub calm: Duration,
    /// From the first fault to the end of the last.
    pub faults: Duration,
    /// After the last.
    pub after: Duration,
}

impl Length {
    /// Of a run of so many seconds in all.
    #[must_use]
    pub fn of(seconds: u64) -> Self {
        let calm = Duration::from_secs((seconds / 6).clamp(4, 20));
        let after = Duration::from_secs((seconds / 8).clamp(4, 15));
        let all = Duration::from_secs(seconds);
        Self {
            calm,
            faults: all.saturating_sub(calm + after).max(Duration::from_secs(2)),
            after,
        }
    }

    /// All of it.
    #[must_use]
    pub fn all(self) -> Duration {
        self.calm + self.faults + self.after
    }
}

/// A row of the matrix.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What goes wrong.
    pub fault: &'static str,
    /// What must hold, for people; `demands` is the same for the judge.
    pub must_hold: &'static str,
    /// What it is done to.
    pub layout: Layout,
    /// What is asked for meanwhile.
    pub load: Load,
    /// Length of the long version, in seconds.
    pub seconds: u64,
    /// What must hold.
    pub demands: Demands,
    /// What is done when.
    pub plan: fn(Length, &mut fastrand::Rng) -> Vec<Step>,
}
