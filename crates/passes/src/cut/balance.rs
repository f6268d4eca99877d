//! Cutting into parts that weigh about the same.
//!
//! A seam is a set of operations that nothing outside of it has to run before.
//! What weighs something is put into such sets in every way that there is; each
//! is extended by the operations that weigh nothing so that the fewest bytes
//! cross, which is a cheapest cut of a network. Sets that hold more of what
//! weighs something then hold more of the rest too, so parts are what lies
//! between a set and a larger one, and the best sequence of sets is found step
//! by step. Where there are too many sets, those of three sequences are taken:
//! the program's order, branch by branch, and all branches side by side.

use std::collections::{BTreeMap, BTreeSet};

use super::blocks::boundaries;
use super::units::{Bits, Order, Units};
use super::{Costs, Error, Graph, Loads};

/// So many sets are compared with each other.
const MOST_SETS: usize = 1200;

/// A sequence is divided into so many pieces; places at their ends are tried.
const PIECES: u64 = 200;

/// What weighs less than this share of a part is put where the seam is
/// cheapest.
const LIGHT: u64 = 1024;

/// How to cut.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// How many parts; as few as the limit allows when it is not said.
    pub parts: Option<usize>,
    /// The weights of a part are at most so many bytes.
    pub limit: Option<u64>,
    /// What shall be equal: the largest part is made small.
    pub balance: &'a Loads,
    /// The weights.
    pub weights: &'a Loads,
    /// The largest part may be larger than the smallest possible one by so many
    /// percent, for fewer bytes that cross and seams between repeated blocks.
    pub slack: u64,
    /// Edges whose values cannot cross a seam.
    pub whole: &'a [bool],
    /// These nodes and what must run before them are the first part.
    pub first: Option<&'a [usize]>,
    /// These nodes and what must run after them are the last part.
    pub last: Option<&'a [usize]>,
}

/// A function cut into parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balanced {
    /// The part of each node.
    pub labels: Vec<usize>,
    /// For each part, what shall be equal.
    pub loads: Vec<u64>,
    /// How small the largest part can be (without those that were asked for as
    /// parts of their own).
    pub least: u64,
    /// For each seam, the bytes that cross.
    pub bytes: Vec<u64>,
    /// For each seam, whether it is between repeated blocks.
    pub between_blocks: Vec<bool>,
    /// Whether every way to cut was compared; otherwise only the likely ones.
    pub all_compared: bool,
}

/// A set of operations behind which one can cut.
struct Candidate {
    set: Bits,
    /// Whether a unit is before the seam.
    before: Vec<bool>,
    cost: i128,
    between_blocks: bool,
    balance: Sum,
    weights: Sum,
}

/// What a set weighs.
struct Sum {
    own: u64,
    /// Of each shared weight, how many of its readers are in the set.
    readers: Vec<usize>,
}

impl Sum {
    fn of(loads: &Loads, inside: impl Fn(usize) -> bool) -> Self {
        let own = loads.own.iter().enumerate().filter(|(n, _)| inside(*n));
        let shared = loads.shared.iter();
        let readers = shared.map(|s| s.nodes.iter().filter(|&&n| inside(n)).count());
        Sum {
            own: own.map(|(_, &l)| l).fold(0, u64::saturating_add),
            readers: readers.collect(),
        }
    }

    /// What the part between two sets weighs.
    fn between(loads: &Loads, small: &Self, large: &Self) -> u64 {
        let readers = small.readers.iter().zip(&large.readers);
        let shared = loads.shared.iter().zip(readers);
        shared
            .filter(|(_, (small, large))| small < large)
            .map(|(s, _)| s.bytes)
            .fold(large.own.saturating_sub(small.own), u64::saturating_add)
    }
}

/// A part that begins behind an earlier candidate.
struct Step {
    from: usize,
    balance: u64,
}

/// Cuts a function into parts that weigh about the same.
///
/// The largest part is as small as it can be, but for [`Wish::slack`]; then the
/// fewest bytes cross, then the most seams are between repeated blocks, then
/// the largest part is small.
///
/// # Errors
/// [`Error::TooHeavy`] when one operation alone is beyond the limit,
/// [`Error::TooMany`] when there are not as many places to cut, and
/// [`Error::NotApart`] when what shall be apart cannot be.
pub fn balance(graph: &Graph<'_>, costs: &Costs, wish: &Wish<'_>) -> Result<Balanced, Error> {
    let units = Units::new(graph, &costs.bytes, wish.whole);
    if let Some(limit) = wish.limit {
        check_limit(graph, &units, wish.weights, limit)?;
    }
    let most = units.len();
    if let Some(asked) = wish.parts.filter(|&asked| asked > most || asked == 0) {
        return Err(too_many(graph, &units, asked, most));
    }
    let search = Search {
        graph,
        units: &units,
        costs,
        wish,
    };
    let heavy = search.heavy();
    let few = heavy.len() < wish.parts.unwrap_or(1);
    if !few && let Some(found) = search.cut(heavy)? {
        return Ok(found);
    }
    // Down to what weighs nothing.
    if let Some(found) = search.cut((0..most).collect())? {
        return Ok(found);
    }
    match wish.limit {
        Some(limit) => Err(Error::NoFit {
            parts: wish.parts,
            limit,
            all: wish.weights.total(),
        }),
        None => Err(too_many(graph, &units, wish.parts.unwrap_or(most), most)),
    }
}

/// What each unit weighs; what several have counts in each.
fn sums(units: &Units, loads: &Loads) -> Vec<u64> {
    let mut sums = vec![0u64; units.len()];
    let mut add = |unit: usize, load: u64| sums[unit] = sums[unit].saturating_add(load);
    for (&unit, &own) in units.of.iter().zip(&loads.own) {
        add(unit, own);
    }
    for shared in &loads.shared {
        let users: BTreeSet<usize> = shared.nodes.iter().map(|&n| units.of[n]).collect();
        users.into_iter().for_each(|unit| add(unit, shared.bytes));
    }
    sums
}

/// Whether every unit is within the limit.
fn check_limit(graph: &Graph<'_>, units: &Units, weights: &Loads, limit: u64) -> Result<(), Error> {
    let sums = sums(units, weights);
    let heaviest = (0..units.len()).max_by_key(|&u| (sums[u], usize::MAX - u));
    let Some(unit) = heaviest.filter(|&u| sums[u] > limit) else {
        return Ok(());
    };
    let nodes = &units.nodes[unit];
    let own = |&&n: &&usize| (weights.of_node(n), usize::MAX - n);
    let heaviest = nodes.iter().max_by_key(own).copied().unwrap_or_default();
    Err(Error::TooHeavy {
        op: graph.program.describe_op(graph.nodes[heaviest]),
        own: weights.of_node(heaviest),
        with: nodes.len() - 1,
        why: reason(graph, nodes).unwrap_or_default(),
        bytes: sums[unit],
        limit,
    })
}

/// Why nodes belong together.
fn reason(graph: &Graph<'_>, nodes: &[usize]) -> Option<String> {
    let inside = |tie: &&(Vec<usize>, String)| tie.0.iter().all(|n| nodes.contains(n));
    let ties = graph.tied.iter().filter(inside);
    ties.max_by_key(|tie| tie.0.len()).map(|tie| tie.1.clone())
}

fn too_many(graph: &Graph<'_>, units: &Units, asked: usize, most: usize) -> Error {
    let largest = units.nodes.iter().max_by_key(|nodes| nodes.len());
    let largest = largest.filter(|nodes| nodes.len() > 1);
    Error::TooMany {
        asked,
        most,
        why: largest.map_or_else(String::new, |nodes| {
            let why =
                reason(graph, nodes).unwrap_or_else(|| "no seam can separate them".to_owned());
            format!(
                "; {} of its {} operations stay together: {why}",
                nodes.len(),
                graph.nodes.len()
            )
        }),
    }
}

struct Search<'s, 'p> {
    graph: &'s Graph<'p>,
    units: &'s Units,
    costs: &'s Costs,
    wish: &'s Wish<'s>,
}

impl Search<'_, '_> {
    /// Units that weigh something, those that shall be apart included.
    fn heavy(&self) -> Vec<usize> {
        let wish = self.wish;
        let parts = match (wish.parts, wish.limit) {
            (Some(parts), _) => parts as u64,
            (None, Some(limit)) => wish.weights.total() / limit.max(1) + 1,
            (None, None) => 1,
        };
        let apart = [wish.first, wish.last].into_iter().flatten().flatten();
        let mut heavy: BTreeSet<usize> = apart.map(|&n| self.units.of[n]).collect();
        let counts = [Some(wish.balance), wish.limit.map(|_| wish.weights)];
        for loads in counts.into_iter().flatten() {
            let light = loads.total() / parts.saturating_mul(LIGHT);
            let sums = sums(self.units, loads);
            heavy.extend((0..sums.len()).filter(|&u| sums[u] > light));
        }
        heavy.into_iter().collect()
    }

    /// The best way to cut behind sets of these units; `None` when there is
    /// none.
    fn cut(&self, heavy: Vec<usize>) -> Result<Option<Balanced>, Error> {
        let order = Order::new(self.units, heavy);
        let first = self.apart(&order, self.wish.first, Order::upto)?;
        let last = self.apart(&order, self.wish.last, Order::from)?;
        // What is not before the last part.
        let end = last.map(|last| {
            let mut rest = order.none();
            let places = 0..order.heavy.len();
            places
                .filter(|&p| !last.contains(p))
                .for_each(|p| rest.insert(p));
            rest
        });
        let (candidates, all_compared) = self.candidates(&order, &[&first, &end]);
        let at = |set: &Bits| candidates.iter().position(|c| c.set == *set);
        let (none, all) = (0, candidates.len() - 1);
        let mut ends = (none, all);
        let mut around = (Vec::new(), Vec::new());
        if let Some(place) = first.as_ref().and_then(at) {
            ends.0 = place;
            around.0.push(none);
        }
        if let Some(place) = end.as_ref().and_then(at) {
            ends.1 = place;
            around.1.push(all);
        }
        let apart = around.0.len() + around.1.len();
        let least = apart + usize::from(ends.0 != ends.1);
        let middle = match self.wish.parts {
            Some(asked) if asked < least => return Err(Error::NoneLeft { asked, least }),
            parts => parts.map(|parts| parts - apart),
        };
        let Some((least, path)) = self.path(&candidates, ends, middle) else {
            return Ok(None);
        };
        let path: Vec<usize> = [around.0, path, around.1].concat();
        Ok(Some(self.balanced(&candidates, &path, least, all_compared)))
    }

    /// The heavy units of a part of its own, with those that belong to it.
    fn apart<'o>(
        &self,
        order: &'o Order<'_>,
        nodes: Option<&[usize]>,
        more: impl Fn(&'o Order<'o>, usize) -> &'o Bits,
    ) -> Result<Option<Bits>, Error>
    where
        Self: 'o,
    {
        let Some(nodes) = nodes else { return Ok(None) };
        let mut set = order.none();
        for &node in nodes {
            let unit = self.units.of[node];
            if let Ok(place) = order.heavy.binary_search(&unit) {
                set.add(more(order, place));
            }
        }
        if set == order.none() || set == order.all() {
            let op = nodes.first().map(|&n| self.graph.nodes[n]);
            return Err(Error::NotApart {
                op: op.map_or_else(String::new, |op| self.graph.program.describe_op(op)),
            });
        }
        Ok(Some(set))
    }

    /// Sets behind which one can cut, smaller ones first, from none to all; and
    /// whether they are all that there are.
    fn candidates(&self, order: &Order<'_>, wanted: &[&Option<Bits>]) -> (Vec<Candidate>, bool) {
        let mut sets: BTreeSet<(usize, Bits)> = BTreeSet::new();
        let all = order.closed_sets(MOST_SETS);
        let complete = all.is_some();
        let mut add = |set: Bits| sets.insert((set.len(), set));
        for set in all.into_iter().flatten() {
            add(set);
        }
        for set in wanted.iter().copied().flatten() {
            add(set.clone());
        }
        let sequences = order.sequences();
        let listed = sequences.first().map_or(&[][..], |s| s);
        let blocks: BTreeSet<usize> = boundaries(&self.kinds(order, listed)).into_iter().collect();
        let mut between: BTreeSet<Bits> = BTreeSet::new();
        for (nth, sequence) in sequences.iter().enumerate() {
            let pieces = self.pieces(order, sequence);
            let mut set = order.none();
            for taken in 0..=sequence.len() {
                let between_blocks = nth == 0 && blocks.contains(&taken);
                if between_blocks {
                    between.insert(set.clone());
                }
                // The first and the last of each piece.
                let inner = taken > 0
                    && taken < sequence.len()
                    && pieces[taken - 1] == pieces[taken]
                    && pieces[taken + 1] == pieces[taken];
                if !complete && (between_blocks || !inner) {
                    add(set.clone());
                }
                if let Some(&place) = sequence.get(taken) {
                    set.insert(place);
                }
            }
        }
        let candidate = |(_, set): (usize, Bits)| {
            let (before, cost) = if set == order.none() {
                (vec![false; self.units.len()], 0)
            } else if set == order.all() {
                (vec![true; self.units.len()], 0)
            } else {
                order.seam(&set)
            };
            let inside = |node: usize| before[self.units.of[node]];
            Candidate {
                between_blocks: between.contains(&set),
                cost,
                balance: Sum::of(self.wish.balance, inside),
                weights: Sum::of(self.wish.weights, inside),
                set,
                before,
            }
        };
        (sets.into_iter().map(candidate).collect(), complete)
    }

    /// For each place of a sequence, its piece: half by how many units are
    /// before it, half by what they weigh.
    fn pieces(&self, order: &Order<'_>, sequence: &[usize]) -> Vec<u128> {
        let count = sequence.len().max(1) as u128;
        let sums = sums(self.units, self.wish.balance);
        let load = |&place: &usize| u128::from(sums[order.heavy[place]]);
        let total = sequence.iter().map(load).sum::<u128>().max(1);
        let pieces = u128::from(PIECES.max(self.wish.parts.unwrap_or(0) as u64));
        let mut before = 0u128;
        let mut found = Vec::with_capacity(sequence.len() + 1);
        for taken in 0..=sequence.len() {
            found.push((taken as u128 * pieces / count + before * pieces / total) / 2);
            before += sequence.get(taken).map_or(0, load);
        }
        found
    }

    /// What makes heavy units the same: their operations and what they weigh.
    fn kinds(&self, order: &Order<'_>, listed: &[usize]) -> Vec<Vec<(&str, u64, u64)>> {
        let program = self.graph.program;
        let kind = |&node: &usize| {
            (
                program.ops[self.graph.nodes[node]].op_type.as_str(),
                self.wish.weights.own.get(node).copied().unwrap_or(0),
                self.costs.macs.get(node).copied().unwrap_or(0),
            )
        };
        let units = listed.iter().map(|&place| order.heavy[place]);
        units
            .map(|unit| self.units.nodes[unit].iter().map(kind).collect())
            .collect()
    }

    /// The best sequence of sets, with its ends: in so many parts, or in as few
    /// as possible; and how small the largest part can be.
    fn path(
        &self,
        candidates: &[Candidate],
        (start, end): (usize, usize),
        parts: Option<usize>,
    ) -> Option<(u64, Vec<usize>)> {
        if start == end {
            return (parts.is_none_or(|p| p == 0)).then(|| (0, vec![start]));
        }
        let limit = self.wish.limit.unwrap_or(u64::MAX);
        let mut steps: Vec<Vec<Step>> = Vec::with_capacity(end + 1);
        for (j, to) in candidates.iter().enumerate().take(end + 1) {
            let earlier = candidates[..j].iter().enumerate().skip(start);
            let inside = earlier.filter(|(_, c)| c.set.is_within(&to.set));
            let within = inside
                .filter(|(_, c)| Sum::between(self.wish.weights, &c.weights, &to.weights) <= limit);
            steps.push(
                within
                    .map(|(from, c)| Step {
                        from,
                        balance: Sum::between(self.wish.balance, &c.balance, &to.balance),
                    })
                    .collect(),
            );
        }
        // The smallest that the largest part can be, with 1, 2, 3, .. parts.
        let mut row: Vec<Option<u64>> = vec![None; end + 1];
        row[start] = Some(0);
        let mut count = 0;
        while parts.map_or(row[end].is_none(), |p| count < p) {
            if count > end - start {
                return None;
            }
            row = (0..=end)
                .map(|j| {
                    let ways = steps[j].iter();
                    ways.filter_map(|s| Some(row[s.from]?.max(s.balance))).min()
                })
                .collect();
            count += 1;
        }
        let least = row[end]?;
        let slack = u128::from(least) * u128::from(self.wish.slack) / 100;
        let bound = least.saturating_add(u64::try_from(slack).unwrap_or(u64::MAX));
        self.cheapest_path(candidates, &steps, (start, end), count, bound)
            .map(|path| (least, path))
    }

    /// The sequence of so many parts within a bound that costs least.
    fn cheapest_path(
        &self,
        candidates: &[Candidate],
        steps: &[Vec<Step>],
        (start, end): (usize, usize),
        parts: usize,
        bound: u64,
    ) -> Option<Vec<usize>> {
        /// What crosses, seams that are not between blocks, the largest part;
        /// and where the last part begins.
        type Best = (i128, usize, u64, usize);
        let mut rows: Vec<Vec<Option<Best>>> = vec![vec![None; end + 1]];
        rows[0][start] = Some((0, 0, 0, start));
        for count in 0..parts {
            let row = (0..=end).map(|j| {
                let ways = steps[j].iter().filter(|s| s.balance <= bound);
                let best = ways.filter_map(|s| {
                    let (cost, odd, largest, _) = rows[count][s.from]?;
                    Some((cost, odd, largest.max(s.balance), s.from))
                });
                let (cost, odd, largest, from) = best.min()?;
                let seam = &candidates[j];
                let cost = cost.saturating_add(seam.cost);
                Some((cost, odd + usize::from(!seam.between_blocks), largest, from))
            });
            let row = row.collect();
            rows.push(row);
        }
        let mut path = vec![end];
        let mut at = end;
        for count in (1..=parts).rev() {
            at = rows[count][at]?.3;
            path.push(at);
        }
        path.reverse();
        Some(path)
    }

    /// The parts between the sets of a path.
    fn balanced(
        &self,
        candidates: &[Candidate],
        path: &[usize],
        least: u64,
        all_compared: bool,
    ) -> Balanced {
        let inner = &path[1..path.len() - 1];
        let before = |node: usize, at: usize| candidates[at].before[self.units.of[node]];
        let part = |node: usize| inner.iter().filter(|&&at| !before(node, at)).count();
        let labels: Vec<usize> = (0..self.graph.nodes.len()).map(part).collect();
        let crossing = |seam: usize| {
            let edges = self.graph.edges.iter().zip(&self.costs.bytes);
            let crosses = edges.filter(|(e, _)| {
                labels[e.from] <= seam && e.to.iter().any(|&to| labels[to] > seam)
            });
            crosses.map(|(_, &b)| b).fold(0, u64::saturating_add)
        };
        Balanced {
            loads: (0..=inner.len())
                .map(|part| self.wish.balance.together(|n| labels[n] == part))
                .collect(),
            bytes: (0..inner.len()).map(crossing).collect(),
            between_blocks: inner
                .iter()
                .map(|&at| candidates[at].between_blocks)
                .collect(),
            labels,
            least,
            all_compared,
        }
    }
}

/// Weights that several parts have, each for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copies {
    /// The weight.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// The parts, the first of which is where it would be without the cut.
    pub parts: Vec<usize>,
}

/// The weights that more than one part of a cut has.
pub fn copies(loads: &Loads, labels: &[usize]) -> Vec<Copies> {
    let mut found: BTreeMap<(Vec<usize>, usize), Copies> = BTreeMap::new();
    for (place, shared) in loads.shared.iter().enumerate() {
        let parts: BTreeSet<usize> = shared.nodes.iter().map(|&n| labels[n]).collect();
        if parts.len() > 1 {
            let parts: Vec<usize> = parts.into_iter().collect();
            let copies = Copies {
                name: shared.name.clone(),
                bytes: shared.bytes,
                parts: parts.clone(),
            };
            found.insert((parts, place), copies);
        }
    }
    found.into_values().collect()
}

#[cfg(test)]
mod tests;
