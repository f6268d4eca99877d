//! The cheapest cut of a directed graph: Dinic's algorithm.
//!
//! E. A. Dinic, "Algorithm for solution of a problem of maximum flow in a
//! network with power estimation", Soviet Math. Doklady 11, 1970.

use std::collections::VecDeque;

/// A cost that no cut pays.
pub(super) const NEVER: i128 = i128::MAX / 1024;

/// A network with a source (node 0) and a sink (node 1).
pub(super) struct Network {
    /// Arcs that leave each node.
    leaving: Vec<Vec<u32>>,
    to: Vec<u32>,
    room: Vec<i128>,
}

/// The source.
pub(super) const SOURCE: usize = 0;
/// The sink.
pub(super) const SINK: usize = 1;

impl Network {
    pub(super) fn new() -> Self {
        Network {
            leaving: vec![Vec::new(), Vec::new()],
            to: Vec::new(),
            room: Vec::new(),
        }
    }

    pub(super) fn node(&mut self) -> usize {
        self.leaving.push(Vec::new());
        self.leaving.len() - 1
    }

    /// An arc that costs `cost` when `from` is on the source's side and `to`
    /// is not.
    pub(super) fn arc(&mut self, from: usize, to: usize, cost: i128) {
        for (a, b, room) in [(from, to, cost), (to, from, 0)] {
            let id = self.to.len() as u32;
            self.to.push(b as u32);
            self.room.push(room);
            self.leaving[a].push(id);
        }
    }

    /// Finds a cheapest cut: its cost, and for each node whether it is on the
    /// source's side. Of several, the one with the smallest source side.
    pub(super) fn cut(mut self) -> (i128, Vec<bool>) {
        let mut cost = 0i128;
        loop {
            let depth = self.depths();
            if depth[SINK] == u32::MAX {
                let side = depth.iter().map(|&d| d != u32::MAX).collect();
                return (cost, side);
            }
            let mut next = vec![0usize; self.leaving.len()];
            loop {
                let pushed = self.augment(&depth, &mut next);
                if pushed == 0 {
                    break;
                }
                cost = cost.saturating_add(pushed);
            }
        }
    }

    fn depths(&self) -> Vec<u32> {
        let mut depth = vec![u32::MAX; self.leaving.len()];
        depth[SOURCE] = 0;
        let mut queue = VecDeque::from([SOURCE]);
        while let Some(node) = queue.pop_front() {
            for &arc in &self.leaving[node] {
                let to = self.to[arc as usize] as usize;
                if self.room[arc as usize] > 0 && depth[to] == u32::MAX {
                    depth[to] = depth[node] + 1;
                    queue.push_back(to);
                }
            }
        }
        depth
    }

    /// Pushes flow along one path of rising depth; without recursion, for
    /// paths are as long as programs.
    fn augment(&mut self, depth: &[u32], next: &mut [usize]) -> i128 {
        let mut path: Vec<u32> = Vec::new();
        let mut node = SOURCE;
        while node != SINK {
            let Some(&arc) = self.leaving[node].get(next[node]) else {
                // A dead end: back, and never here again.
                let Some(last) = path.pop() else { return 0 };
                node = self.to[(last ^ 1) as usize] as usize;
                next[node] += 1;
                continue;
            };
            let to = self.to[arc as usize] as usize;
            if self.room[arc as usize] > 0 && depth[to] == depth[node].saturating_add(1) {
                path.push(arc);
                node = to;
            } else {
                next[node] += 1;
            }
        }
        let room = path.iter().map(|&a| self.room[a as usize]).min();
        let room = room.unwrap_or(0);
        for arc in path {
            self.room[arc as usize] -= room;
            let back = &mut self.room[(arc ^ 1) as usize];
            *back = back.saturating_add(room);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cut::testing::Numbers;

    /// Every cut of random small networks.
    #[test]
    fn finds_the_cheapest_of_all_cuts() {
        let mut numbers = Numbers(7);
        let mut random = |below: u64| numbers.below(below);
        let mut checked = 0;
        for _ in 0..500 {
            let nodes = 2 + random(6) as usize;
            let arcs: Vec<(usize, usize, i128)> = (0..random(16))
                .map(|_| {
                    let (a, b) = (random(nodes as u64), random(nodes as u64));
                    (a as usize, b as usize, i128::from(random(9)))
                })
                .collect();
            let price = |side: &dyn Fn(usize) -> bool| -> i128 {
                let cut = arcs.iter().filter(|(a, b, _)| side(*a) && !side(*b));
                cut.map(|(_, _, c)| c).sum()
            };
            let best = (0..1u32 << nodes)
                .filter(|m| m & 1 == 1 && m & 2 == 0)
                .map(|m| price(&|n| m >> n & 1 == 1))
                .min()
                .unwrap();
            let mut network = Network::new();
            for _ in 2..nodes {
                network.node();
            }
            for &(a, b, c) in &arcs {
                network.arc(a, b, c);
            }
            let (cost, side) = network.cut();
            assert_eq!(cost, best);
            assert_eq!(price(&|n| side[n]), best);
            checked += 1;
        }
        assert_eq!(checked, 500);
    }
}
