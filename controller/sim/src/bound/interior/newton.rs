//! Normal equations of a Newton step: a chain of symmetric 2 x 2 blocks, each coupled with the one
//! before, factorised in one pass.

/// Smallest pivot, as a share of the diagonal it comes from: a smaller one is rounding.
const LEAST_PIVOT: f64 = 1e-14;
/// Stands for a pivot that is rounding. The value that belongs to it keeps still for a step.
const IMMOVABLE: f64 = 1e128;

/// Weights of a second.
#[derive(Clone, Copy, Default)]
pub(super) struct Node {
    /// On the square of `n_t - d_t + d_{t-1}`.
    pub(super) serve: f64,
    /// On the square of `n_t - n_{t-1}`.
    pub(super) grow: f64,
    /// On the square of `d_t`.
    pub(super) defer: f64,
    /// `d_t` may change.
    pub(super) room: bool,
}

/// A block: the inverse of its pivot, its coupling with the block before, and the right-hand side,
/// which becomes the solution.
#[derive(Clone, Copy, Default)]
struct Block {
    inverse_nn: f64,
    inverse_nd: f64,
    inverse_dd: f64,
    /// Coupling of `n_t` with `n_{t-1}`, of `n_t` with `d_{t-1}` and of `d_t` with `d_{t-1}`.
    nn: f64,
    nd: f64,
    dd: f64,
    n: f64,
    d: f64,
}

impl Block {
    fn times_inverse(&self, n: f64, d: f64) -> (f64, f64) {
        (
            self.inverse_nn * n + self.inverse_nd * d,
            self.inverse_nd * n + self.inverse_dd * d,
        )
    }

    /// Inverts the pivot `[[nn, nd], [nd, dd]]`, which is positive but for rounding, of a block with
    /// the diagonal `whole`.
    fn invert(&mut self, nn: f64, nd: f64, dd: f64, whole: (f64, f64)) {
        let first = clamped(nn, whole.0);
        let share = nd / first;
        let second = clamped(dd - share * nd, whole.1);
        self.inverse_dd = 1.0 / second;
        self.inverse_nd = -share / second;
        self.inverse_nn = 1.0 / first + share * share / second;
    }
}

fn clamped(pivot: f64, whole: f64) -> f64 {
    if pivot > LEAST_PIVOT * whole {
        pivot
    } else {
        IMMOVABLE
    }
}

/// The factorised equations.
pub(super) struct Chain {
    blocks: Vec<Block>,
}

impl Chain {
    pub(super) fn new(len: usize) -> Self {
        Self {
            blocks: vec![Block::default(); len],
        }
    }

    /// Factorises the equations of these seconds.
    pub(super) fn factorise(&mut self, nodes: impl Iterator<Item = Node>) {
        let mut nodes = nodes.peekable();
        let mut before = Block::default();
        let mut room_before = false;
        for block in &mut self.blocks {
            let Some(node) = nodes.next() else { return };
            let next = nodes.peek().copied().unwrap_or_default();
            block.nn = -node.grow;
            block.nd = if room_before { node.serve } else { 0.0 };
            block.dd = if room_before && node.room {
                -node.serve
            } else {
                0.0
            };
            // Coupling times the inverse before times coupling.
            let (nn, nd) = before.times_inverse(block.nn, block.nd);
            let (dn, dd) = before.times_inverse(0.0, block.dd);
            let whole_nn = node.serve + node.grow + next.grow;
            let pivot_nn = whole_nn - nn * block.nn - nd * block.nd;
            if node.room {
                let pivot_nd = -node.serve - dn * block.nn - dd * block.nd;
                let whole_dd = node.serve + next.serve + node.defer;
                let pivot_dd = whole_dd - dd * block.dd;
                block.invert(pivot_nn, pivot_nd, pivot_dd, (whole_nn, whole_dd));
            } else {
                block.invert(pivot_nn, 0.0, 1.0, (whole_nn, 1.0));
            }
            before = *block;
            room_before = node.room;
        }
    }

    /// Sets the right-hand side of a second.
    pub(super) fn set(&mut self, t: usize, n: f64, d: f64) {
        self.blocks[t].n = n;
        self.blocks[t].d = d;
    }

    /// The solution of a second.
    pub(super) fn get(&self, t: usize) -> (f64, f64) {
        (self.blocks[t].n, self.blocks[t].d)
    }

    /// Solves for the right-hand sides that were set.
    pub(super) fn solve(&mut self) {
        let mut before = (0.0, 0.0);
        for block in &mut self.blocks {
            block.n -= block.nn * before.0 + block.nd * before.1;
            block.d -= block.dd * before.1;
            before = block.times_inverse(block.n, block.d);
        }
        let mut after = Block::default();
        for block in self.blocks.iter_mut().rev() {
            let n = block.n - after.nn * after.n;
            let d = block.d - after.nd * after.n - after.dd * after.d;
            (block.n, block.d) = block.times_inverse(n, d);
            after = *block;
        }
    }
}
