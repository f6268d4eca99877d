//! Nodes that belong together, and the cheapest seam behind some of them.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::Graph;
use super::flow::{NEVER, Network, SINK, SOURCE};

/// A set of small numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn none(count: usize) -> Self {
        Bits(vec![0; count.div_ceil(64)])
    }

    pub(super) fn insert(&mut self, n: usize) {
        self.0[n / 64] |= 1 << (n % 64);
    }

    pub(super) fn contains(&self, n: usize) -> bool {
        self.0[n / 64] >> (n % 64) & 1 == 1
    }

    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a & !b == 0)
    }

    fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            *a |= b;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|w| w.count_ones() as usize).sum()
    }
}

/// Nodes that no seam can separate, as one: those that are tied, and those on
/// the ways between them.
pub(super) struct Units {
    /// The unit of each node; what a unit reads comes from units before it.
    pub(super) of: Vec<usize>,
    /// The nodes of each unit, in program order.
    pub(super) nodes: Vec<Vec<usize>>,
    /// Values that units hand to others: the unit that gives it, those that
    /// read it, and what it costs to take it across a seam.
    edges: Vec<(usize, Vec<usize>, i128)>,
    before: Vec<Vec<usize>>,
    after: Vec<Vec<usize>>,
}

impl Units {
    /// `whole` are edges that cannot cross a seam.
    pub(super) fn new(graph: &Graph<'_>, bytes: &[u64], whole: &[bool]) -> Self {
        let count = graph.nodes.len();
        let mut arcs: Vec<Vec<usize>> = vec![Vec::new(); count];
        for (edge, &whole) in graph.edges.iter().zip(whole) {
            arcs[edge.from].extend(&edge.to);
            for &to in edge.to.iter().filter(|_| whole) {
                arcs[to].push(edge.from);
            }
        }
        for pair in graph.tied.iter().flat_map(|(nodes, _)| nodes.windows(2)) {
            arcs[pair[0]].push(pair[1]);
            arcs[pair[1]].push(pair[0]);
        }
        // What nothing reads goes where what it reads is made.
        let outputs: BTreeSet<usize> = graph.program.blocks[graph.body]
            .outputs
            .iter()
            .filter_map(|&v| graph.producer(v))
            .collect();
        let mut gives = vec![false; count];
        for edge in &graph.edges {
            gives[edge.from] = true;
        }
        let mut last = vec![None; count];
        for edge in &graph.edges {
            for &to in &edge.to {
                last[to] = last[to].max(Some(edge.from));
            }
        }
        for node in 0..count {
            if let (false, false, Some(from)) = (gives[node], outputs.contains(&node), last[node])
                && !graph.program.ops[graph.nodes[node]].outputs.is_empty()
            {
                arcs[node].push(from);
            }
        }
        let group = components(&arcs);
        Units::of_groups(graph, &arcs, &group, bytes)
    }

    fn of_groups(graph: &Graph<'_>, arcs: &[Vec<usize>], group: &[usize], bytes: &[u64]) -> Self {
        let groups = group.iter().max().map_or(0, |m| m + 1);
        let mut waits = vec![0usize; groups];
        let mut first = vec![usize::MAX; groups];
        for (node, to) in arcs.iter().enumerate() {
            first[group[node]] = first[group[node]].min(node);
            for &to in to.iter().filter(|&&to| group[to] != group[node]) {
                waits[group[to]] += 1;
            }
        }
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); groups];
        for (node, &g) in group.iter().enumerate() {
            members[g].push(node);
        }
        // As near to the program's order as possible.
        let ready = (0..groups).filter(|&g| waits[g] == 0);
        let mut ready: BinaryHeap<_> = ready.map(|g| Reverse((first[g], g))).collect();
        let mut of = vec![0; group.len()];
        let mut nodes = Vec::with_capacity(groups);
        while let Some(Reverse((_, g))) = ready.pop() {
            for &node in &members[g] {
                of[node] = nodes.len();
                for &to in arcs[node].iter().filter(|&&to| group[to] != g) {
                    waits[group[to]] -= 1;
                    if waits[group[to]] == 0 {
                        ready.push(Reverse((first[group[to]], group[to])));
                    }
                }
            }
            nodes.push(std::mem::take(&mut members[g]));
        }
        let mut units = Units {
            before: vec![Vec::new(); nodes.len()],
            after: vec![Vec::new(); nodes.len()],
            of,
            nodes,
            edges: Vec::new(),
        };
        // Bytes first, then the number of values.
        let value = graph.edges.len() as i128 + 1;
        for (edge, &bytes) in graph.edges.iter().zip(bytes) {
            let from = units.of[edge.from];
            let mut to: Vec<usize> = edge.to.iter().map(|&n| units.of[n]).collect();
            to.sort_unstable();
            to.dedup();
            to.retain(|&t| t != from);
            if to.is_empty() {
                continue;
            }
            for &to in &to {
                units.before[to].push(from);
                units.after[from].push(to);
            }
            let cost = i128::from(bytes).saturating_mul(value) + 1;
            units.edges.push((from, to, cost.min(NEVER >> 24)));
        }
        units
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }
}

/// The strongly connected components of a graph: the number of each node's.
fn components(arcs: &[Vec<usize>]) -> Vec<usize> {
    let count = arcs.len();
    let mut back: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (from, to) in arcs.iter().enumerate() {
        for &to in to {
            back[to].push(from);
        }
    }
    // In the order in which a depth-first walk leaves them, then backwards.
    let mut left = Vec::with_capacity(count);
    let mut seen = vec![false; count];
    for start in 0..count {
        let mut path = vec![(start, 0)];
        if std::mem::replace(&mut seen[start], true) {
            continue;
        }
        while let Some((node, next)) = path.last_mut() {
            let Some(&to) = arcs[*node].get(*next) else {
                left.push(*node);
                path.pop();
                continue;
            };
            *next += 1;
            if !std::mem::replace(&mut seen[to], true) {
                path.push((to, 0));
            }
        }
    }
    let mut group = vec![usize::MAX; count];
    let mut groups = 0;
    for &start in left.iter().rev() {
        if group[start] != usize::MAX {
            continue;
        }
        group[start] = groups;
        let mut open = vec![start];
        while let Some(node) = open.pop() {
            for &from in &back[node] {
                if group[from] == usize::MAX {
                    group[from] = groups;
                    open.push(from);
                }
            }
        }
        groups += 1;
    }
    group
}

/// The order of some units among each other.
pub(super) struct Order<'u> {
    pub(super) units: &'u Units,
    /// The units that are ordered; each is known by its place here.
    pub(super) heavy: Vec<usize>,
    /// For each unit, the heavy ones that must run before it or are it.
    upto: Vec<Bits>,
    /// For each unit, the heavy ones that must run after it or are it.
    from: Vec<Bits>,
}

impl<'u> Order<'u> {
    pub(super) fn new(units: &'u Units, heavy: Vec<usize>) -> Self {
        let mut upto = vec![Bits::none(heavy.len()); units.len()];
        let mut from = upto.clone();
        for (place, &unit) in heavy.iter().enumerate() {
            upto[unit].insert(place);
            from[unit].insert(place);
        }
        for unit in 0..units.len() {
            let mut own = std::mem::replace(&mut upto[unit], Bits(Vec::new()));
            for &before in &units.before[unit] {
                own.add(&upto[before]);
            }
            upto[unit] = own;
        }
        for unit in (0..units.len()).rev() {
            let mut own = std::mem::replace(&mut from[unit], Bits(Vec::new()));
            for &after in &units.after[unit] {
                own.add(&from[after]);
            }
            from[unit] = own;
        }
        Order {
            units,
            heavy,
            upto,
            from,
        }
    }

    pub(super) fn none(&self) -> Bits {
        Bits::none(self.heavy.len())
    }

    pub(super) fn all(&self) -> Bits {
        let mut all = self.none();
        (0..self.heavy.len()).for_each(|place| all.insert(place));
        all
    }

    /// The heavy units that must run before or with the one at a place.
    pub(super) fn upto(&self, place: usize) -> &Bits {
        &self.upto[self.heavy[place]]
    }

    /// The heavy units that must run after or with the one at a place.
    pub(super) fn from(&self, place: usize) -> &Bits {
        &self.from[self.heavy[place]]
    }

    /// All sets of heavy units that nothing has to run before, from none to
    /// all, smaller ones first; `None` when there are more than `most`.
    pub(super) fn closed_sets(&self, most: usize) -> Option<Vec<Bits>> {
        let mut all = vec![self.none()];
        let mut layer = BTreeSet::from([self.none()]);
        for _ in 0..self.heavy.len() {
            let mut next = BTreeSet::new();
            for set in &layer {
                for place in (0..self.heavy.len()).filter(|&p| !set.contains(p)) {
                    let mut larger = set.clone();
                    larger.insert(place);
                    if self.upto(place).is_within(&larger) {
                        next.insert(larger);
                    }
                }
                if all.len() + next.len() > most {
                    return None;
                }
            }
            all.extend(next.iter().cloned());
            layer = next;
        }
        Some(all)
    }

    /// Ways to go through the heavy units one after the other: as the program
    /// lists them, each branch as a whole, and all branches side by side.
    pub(super) fn sequences(&self) -> Vec<Vec<usize>> {
        let count = self.heavy.len();
        let mut depth = vec![0usize; self.units.len()];
        let is_heavy: BTreeSet<usize> = self.heavy.iter().copied().collect();
        for unit in 0..self.units.len() {
            let before = self.units.before[unit].iter();
            let deepest = before.map(|&b| depth[b] + usize::from(is_heavy.contains(&b)));
            depth[unit] = deepest.max().unwrap_or(0);
        }
        let listed: Vec<usize> = (0..count).collect();
        let mut side_by_side = listed.clone();
        side_by_side.sort_by_key(|&p| depth[self.heavy[p]]);
        let mut place = vec![None; self.units.len()];
        for (p, &unit) in self.heavy.iter().enumerate() {
            place[unit] = Some(p);
        }
        let mut branches = Vec::with_capacity(count);
        let mut seen = vec![false; self.units.len()];
        for end in 0..self.units.len() {
            if !self.units.after[end].is_empty() || std::mem::replace(&mut seen[end], true) {
                continue;
            }
            let mut path = vec![(end, 0)];
            while let Some((unit, next)) = path.last_mut() {
                let Some(&before) = self.units.before[*unit].get(*next) else {
                    branches.extend(place[*unit]);
                    path.pop();
                    continue;
                };
                *next += 1;
                if !std::mem::replace(&mut seen[before], true) {
                    path.push((before, 0));
                }
            }
        }
        vec![listed, branches, side_by_side]
    }

    /// The cheapest seam behind exactly these heavy units: the units before
    /// it, and its cost. Seams behind more units are not before it.
    pub(super) fn seam(&self, set: &Bits) -> (Vec<bool>, i128) {
        let units = self.units;
        let mut network = Network::new();
        let mut place = Vec::with_capacity(units.len());
        for unit in 0..units.len() {
            place.push(if self.from[unit].meets(set) {
                SOURCE
            } else if !self.upto[unit].is_within(set) {
                SINK
            } else {
                network.node()
            });
        }
        let mut sure = 0i128;
        for (from, to, cost) in &units.edges {
            let open = |&&u: &&usize| place[u] > SINK;
            let some_behind = to.iter().any(|&t| place[t] == SINK);
            match place[*from] {
                SINK => continue,
                SOURCE if some_behind => {
                    sure = sure.saturating_add(*cost);
                    continue;
                }
                SOURCE if !to.iter().any(|t| open(&t)) => continue,
                _ => {}
            }
            let crossing = network.node();
            network.arc(place[*from], crossing, *cost);
            for &to in to {
                network.arc(crossing, place[to], NEVER);
                network.arc(place[to], place[*from], NEVER);
            }
        }
        let (cost, side) = network.cut();
        let before = place.iter().map(|&p| side[p]).collect();
        (before, cost.saturating_add(sure))
    }
}
