//! Random numbers and graphs for the tests of cuts.

/// Small random numbers from a seed.
pub(super) struct Numbers(pub(super) u64);

/// The ends of an edge: a node and those that read from it.
type Ends = (usize, Vec<usize>);

impl Numbers {
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % n
    }

    /// Edges and ties between nodes. One in so many that nothing would read
    /// stays alone.
    pub(super) fn edges(&mut self, nodes: usize, alone: u64) -> (Vec<Ends>, Vec<Vec<usize>>) {
        let mut edges = Vec::new();
        for from in 0..nodes - 1 {
            let mut to: Vec<usize> = (from + 1..nodes).filter(|_| self.below(3) == 0).collect();
            if to.is_empty() && self.below(alone) > 0 {
                to.push(from + 1);
            }
            if !to.is_empty() {
                edges.push((from, to));
            }
        }
        let tied = match self.below(3) {
            0 => vec![vec![self.below(nodes as u64) as usize, nodes - 1]],
            _ => Vec::new(),
        };
        (edges, tied)
    }
}
