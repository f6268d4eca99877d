//! Finding the seam: as much work as possible for the Neural Engine.
//!
//! A pattern says which stages are for the Neural Engine: `CN` is one for CPU
//! and GPU, then one for the Neural Engine. Operations that the Neural Engine
//! cannot take are barred from its stages. Of a pattern, the cheapest cut of a
//! network gives the way that leaves the Neural Engine most multiply-adds, or
//! that moves the fewest bytes, or any mixture of the two; what is wanted is
//! the fewest bytes among those within 1 % of the most multiply-adds, so the
//! mixture is narrowed down until both its neighbours are known.

use std::collections::{BTreeMap, BTreeSet};

use milwright_ir::{BlobSource, ValueId};

use super::flow::NEVER;
use super::plan::{Price, cheapest};
use super::{Error, Graph, SeamTypes};

/// At most so many stages are tried.
const MOST_STAGES: usize = 5;

/// A seam may lose this share of the multiply-adds that the best one leaves
/// the Neural Engine, if it moves fewer bytes.
const SLACK: u64 = 100;

/// More stages are made only where fewer leave the Neural Engine less than one
/// part in so many of what it could get: a stage is a model to load, a change of
/// device and a transfer.
const WORTH_A_STAGE: u64 = 4;

/// What the choice depends on, for each node and edge of a [`Graph`].
#[derive(Debug, Clone)]
pub struct Costs {
    /// Whether a node cannot run on the Neural Engine.
    pub barred: Vec<bool>,
    /// Multiply-adds of a node.
    pub macs: Vec<u64>,
    /// How many reasons there are to expect that a node leaves the Neural
    /// Engine although it may be there.
    pub flagged: Vec<u32>,
    /// Size of an edge's value in bytes.
    pub bytes: Vec<u64>,
}

impl Costs {
    /// Multiply-adds and bytes at the default shapes (an unknown size counts as
    /// nothing); nothing barred and nothing flagged.
    pub fn new(graph: &Graph<'_>, types: &SeamTypes, blobs: &dyn BlobSource) -> Self {
        let bytes = graph.edges.iter().map(|edge| {
            let ty = types.default_type(edge.value);
            ty.and_then(|t| t.dtype.byte_len(t.elements()?))
                .unwrap_or(0)
        });
        Costs {
            barred: vec![false; graph.nodes.len()],
            macs: graph
                .nodes
                .iter()
                .map(|&op| types.multiply_adds(graph.program, op, blobs))
                .collect(),
            flagged: vec![0; graph.nodes.len()],
            bytes: bytes.collect(),
        }
    }
}

/// A way to cut, and what it is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// For each stage, whether it is for the Neural Engine.
    pub pattern: Vec<bool>,
    /// The stage of each node.
    pub labels: Vec<usize>,
    /// Values that cross, in program order; one that crosses several seams is
    /// named once.
    pub values: Vec<ValueId>,
    /// Multiply-adds in stages for the Neural Engine.
    pub macs: u64,
    /// Bytes that cross the seams, a value once for each seam.
    pub bytes: u64,
    /// Operations in stages for the Neural Engine that may leave it.
    pub flagged: u64,
    /// Operations in other stages.
    pub outside: usize,
}

/// The best way to cut and those that were considered beside it.
#[derive(Debug)]
pub struct Choice {
    /// The best one.
    pub best: Candidate,
    /// Others, the better ones first.
    pub others: Vec<Candidate>,
    /// The most multiply-adds that the Neural Engine can get with as many
    /// stages as the best one has.
    pub most_macs: u64,
    /// Those of the whole function.
    pub all_macs: u64,
}

/// What a mixture pays for.
struct Weights {
    /// For each multiply-add outside of the Neural Engine.
    macs: i128,
    /// For bytes, and then flagged operations, and then operations outside.
    moves: i128,
}

struct Search<'g, 'p> {
    graph: &'g Graph<'p>,
    costs: &'g Costs,
    /// What a byte and a flagged operation cost when an operation outside of
    /// the Neural Engine costs 1: so much that they come first.
    byte: i128,
    flag: i128,
}

/// Finds the cut that leaves the Neural Engine most to do.
///
/// As few stages as leave it at least a quarter of what any number up to five
/// could; of these, as many multiply-adds as possible; within 1 % of that, the
/// fewest bytes that cross, then the fewest operations that are flagged in its
/// stages, then the fewest outside of them. `None` when nothing
/// is barred, so that nothing needs to be cut.
///
/// # Errors
/// [`Error::NothingLeft`] when no multiply-adds are left to the Neural Engine;
/// `reasons` are for its message.
pub fn find_seams(
    graph: &Graph<'_>,
    costs: &Costs,
    reasons: &[String],
) -> Result<Option<Choice>, Error> {
    if !costs.barred.contains(&true) {
        return Ok(None);
    }
    let flag = graph.nodes.len() as i128 + 1;
    let flags: i128 = costs.flagged.iter().map(|&f| i128::from(f)).sum();
    let search = Search {
        graph,
        costs,
        flag,
        byte: flag * (flags + 1),
    };
    let mut found: Vec<Candidate> = Vec::new();
    let mut widest: Vec<(Vec<bool>, Candidate)> = Vec::new();
    for stages in 2..=MOST_STAGES {
        for first in [false, true] {
            let pattern: Vec<bool> = (0..stages).map(|s| (s % 2 == 0) == first).collect();
            widest.extend(search.most(&pattern).map(|most| (pattern, most)));
        }
    }
    let most_of = |stages: usize| {
        let ways = widest.iter().filter(|(p, _)| p.len() == stages);
        ways.map(|(_, c)| c.macs).max().unwrap_or(0)
    };
    let most_ever = (2..=MOST_STAGES).map(most_of).max().unwrap_or(0);
    let stages = (2..=MOST_STAGES).find(|&n| most_of(n) >= most_ever.div_ceil(WORTH_A_STAGE));
    let most_macs = stages.map_or(0, most_of);
    if most_macs == 0 {
        return Err(Error::NothingLeft {
            reasons: reasons.to_vec(),
        });
    }
    let enough = most_macs - most_macs / SLACK;
    let mut best: Option<Candidate> = None;
    for (pattern, most) in &widest {
        found.push(most.clone());
        if most.macs < enough || Some(pattern.len()) != stages {
            continue;
        }
        let narrowed = search.narrow(pattern, most.clone(), enough, &mut found);
        if best
            .as_ref()
            .is_none_or(|b| search.key(&narrowed) < search.key(b))
        {
            best = Some(narrowed);
        }
    }
    // Some pattern has the most.
    let Some(best) = best else {
        return Err(Error::NothingLeft {
            reasons: reasons.to_vec(),
        });
    };
    found.extend(search.prefixes());
    let mut others: Vec<Candidate> = Vec::new();
    found.sort_by_key(|c| (c.macs < enough, c.pattern.len(), search.key(c)));
    for candidate in found {
        let same = |c: &Candidate| c.values == candidate.values && c.pattern == candidate.pattern;
        if !same(&best) && !others.iter().any(same) && candidate.macs > 0 {
            others.push(candidate);
        }
    }
    Ok(Some(Choice {
        best,
        others,
        most_macs,
        all_macs: search.total(),
    }))
}

impl Search<'_, '_> {
    fn total(&self) -> u64 {
        self.costs.macs.iter().fold(0, |a, &m| a.saturating_add(m))
    }

    /// What decides among candidates with enough multiply-adds.
    fn key(&self, c: &Candidate) -> i128 {
        let bytes = i128::from(c.bytes).saturating_mul(self.byte);
        let flagged = i128::from(c.flagged).saturating_mul(self.flag);
        bytes
            .saturating_add(flagged)
            .saturating_add(c.outside as i128)
    }

    /// The way with most multiply-adds, and the cheapest of those.
    fn most(&self, pattern: &[bool]) -> Option<Candidate> {
        let bytes: i128 = self.costs.bytes.iter().map(|&b| i128::from(b)).sum();
        let moves = (bytes * pattern.len() as i128 + 1).saturating_mul(self.byte);
        let affordable = (NEVER >> 24) / i128::from(self.total().max(1));
        let macs = moves.min(affordable);
        self.solve(pattern, &Weights { macs, moves: 1 })
    }

    /// The cheapest way with enough multiply-adds, as far as a mixture of both
    /// finds it. `most` has the most.
    fn narrow(
        &self,
        pattern: &[bool],
        most: Candidate,
        enough: u64,
        seen: &mut Vec<Candidate>,
    ) -> Candidate {
        let Some(mut cheap) = self.solve(pattern, &Weights { macs: 0, moves: 1 }) else {
            return most;
        };
        if cheap.macs >= enough {
            return cheap;
        }
        let mut good = most;
        // Each round finds a new corner between the two; there are few.
        for _ in 0..64 {
            let moves = i128::from(good.macs) - i128::from(cheap.macs);
            let macs = self.key(&good) - self.key(&cheap);
            if moves <= 0 || macs <= 0 {
                break;
            }
            let weights = Weights { macs, moves };
            let Some(middle) = self.solve(pattern, &weights) else {
                break;
            };
            let price = |c: &Candidate| {
                let moved = self.key(c).saturating_mul(weights.moves);
                moved.saturating_sub(i128::from(c.macs).saturating_mul(weights.macs))
            };
            if price(&middle) >= price(&good) {
                break;
            }
            if middle.macs >= enough {
                good = middle.clone();
            } else {
                cheap = middle.clone();
            }
            seen.push(middle);
        }
        good
    }

    fn solve(&self, pattern: &[bool], weights: &Weights) -> Option<Candidate> {
        let costs = self.costs;
        let price = Price {
            stages: pattern.len(),
            node: &|node, stage| {
                if !pattern[stage] {
                    return bounded(&[costs.macs[node].into(), weights.macs]) + weights.moves;
                }
                if costs.barred[node] {
                    return NEVER;
                }
                bounded(&[costs.flagged[node].into(), self.flag, weights.moves])
            },
            edge: &|edge, _| bounded(&[costs.bytes[edge].into(), self.byte, weights.moves]),
            tied: true,
        };
        let (_, labels) = cheapest(self.graph, &price)?;
        Some(self.candidate(pattern.to_vec(), labels))
    }

    fn candidate(&self, pattern: Vec<bool>, labels: Vec<usize>) -> Candidate {
        let costs = self.costs;
        // Stages that nothing is in are none.
        let used: BTreeSet<usize> = labels.iter().copied().collect();
        let pattern: Vec<bool> = used.iter().map(|&l| pattern[l]).collect();
        let place: BTreeMap<usize, usize> = used.into_iter().zip(0..).collect();
        let labels: Vec<usize> = labels.iter().map(|l| place[l]).collect();
        let on = |node: usize| pattern[labels[node]];
        let nodes = 0..self.graph.nodes.len();
        let macs = nodes.clone().filter(|&n| on(n)).map(|n| costs.macs[n]);
        let flagged = nodes
            .clone()
            .filter(|&n| on(n))
            .map(|n| u64::from(costs.flagged[n]));
        let mut values = Vec::new();
        let mut bytes = 0u64;
        for (edge, &size) in self.graph.edges.iter().zip(&costs.bytes) {
            let last = edge.to.iter().map(|&to| labels[to]).max();
            let seams = last.unwrap_or(0).saturating_sub(labels[edge.from]);
            if seams > 0 {
                values.push(edge.value);
                bytes = bytes.saturating_add(size.saturating_mul(seams as u64));
            }
        }
        Candidate {
            macs: macs.fold(0, u64::saturating_add),
            flagged: flagged.sum(),
            outside: nodes.filter(|&n| !on(n)).count(),
            pattern,
            labels,
            values,
            bytes,
        }
    }

    /// Where all that is barred stands at the beginning: cuts after each of
    /// the operations behind it, as the program lists them. For comparison.
    fn prefixes(&self) -> Vec<Candidate> {
        let barred = |n: &usize| self.costs.barred[*n];
        let first = self
            .graph
            .ancestors((0..self.graph.nodes.len()).filter(barred));
        let mut labels: Vec<usize> = first.iter().map(|&f| usize::from(!f)).collect();
        let mut found = Vec::new();
        for node in 0..labels.len() {
            if labels[node] == 0 {
                continue;
            }
            labels[node] = 0;
            let torn = self.graph.tied.iter().any(|(nodes, _)| {
                nodes.iter().any(|&n| labels[n] == 0) && nodes.iter().any(|&n| labels[n] == 1)
            });
            if !torn {
                found.push(self.candidate(vec![false, true], labels.clone()));
            }
            if found.len() > PREFIXES {
                break;
            }
        }
        found
    }
}

/// A product, far from what no cut pays: only sizes that no machine can hold
/// come near.
fn bounded(factors: &[i128]) -> i128 {
    let product = factors.iter().fold(1, |a: i128, &b| a.saturating_mul(b));
    product.min(NEVER >> 24)
}

/// At most so many cuts are listed for comparison.
const PREFIXES: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cut::testing::Numbers;

    fn random_graph(random: &mut Numbers) -> (Graph<'static>, Costs) {
        let nodes = 4 + random.below(6) as usize;
        let (edges, tied) = random.edges(nodes, 3);
        let graph = Graph::bare(nodes, &edges, &tied);
        let mut costs = Costs {
            barred: (0..nodes).map(|_| random.below(5) == 0).collect(),
            macs: (0..nodes).map(|_| random.below(4) * 100).collect(),
            flagged: (0..nodes).map(|_| random.below(3) as u32).collect(),
            bytes: edges.iter().map(|_| 1 + random.below(20)).collect(),
        };
        if !costs.barred.contains(&true) {
            costs.barred[0] = true;
        }
        (graph, costs)
    }

    /// Every way to put the nodes into two stages.
    fn all_ways(search: &Search<'_, '_>, pattern: &[bool]) -> Vec<Candidate> {
        let graph = search.graph;
        let nodes = graph.nodes.len();
        let ways = (0..1u32 << nodes).map(|m| (0..nodes).map(|n| (m >> n & 1) as usize).collect());
        ways.filter(|labels: &Vec<usize>| {
            let ordered = graph
                .edges
                .iter()
                .all(|e| e.to.iter().all(|&t| labels[e.from] <= labels[t]));
            let tied = graph
                .tied
                .iter()
                .all(|(t, _)| t.iter().all(|&n| labels[n] == labels[t[0]]));
            let allowed = (0..nodes).all(|n| !(pattern[labels[n]] && search.costs.barred[n]));
            ordered && tied && allowed
        })
        .map(|labels| search.candidate(pattern.to_vec(), labels))
        .collect()
    }

    #[test]
    fn no_other_way_is_better_in_everything() {
        let mut random = Numbers(3);
        let (mut chosen, mut fewest, mut nothing) = (0, 0, 0);
        for _ in 0..400 {
            let (graph, costs) = random_graph(&mut random);
            let choice = match find_seams(&graph, &costs, &[]) {
                Ok(choice) => choice.unwrap(),
                Err(Error::NothingLeft { .. }) => {
                    nothing += 1;
                    continue;
                }
                Err(e) => panic!("{e}"),
            };
            let best = &choice.best;
            super::super::Plan::new(&graph, &best.labels).unwrap();
            assert!(
                (0..graph.nodes.len()).all(|n| !(best.pattern[best.labels[n]] && costs.barred[n]))
            );
            assert!(best.macs >= choice.most_macs - choice.most_macs / SLACK);
            if best.pattern.len() != 2 {
                continue;
            }
            let flag = graph.nodes.len() as i128 + 1;
            let flags: i128 = costs.flagged.iter().map(|&f| i128::from(f)).sum();
            let (graph, costs) = (&graph, &costs);
            let search = Search {
                graph,
                costs,
                flag,
                byte: flag * (flags + 1),
            };
            let ways = [[false, true], [true, false]]
                .map(|p| all_ways(&search, &p))
                .concat();
            let most = ways.iter().map(|c| c.macs).max().unwrap();
            assert_eq!(most, choice.most_macs);
            let dominated = |c: &&Candidate| {
                c.macs >= best.macs && search.key(c) < search.key(best) && c.macs * 100 >= most * 99
            };
            assert_eq!(ways.iter().find(dominated), None, "{best:?}");
            let enough = ways.iter().filter(|c| c.macs * 100 >= most * 99);
            let least = enough.map(|c| search.key(c)).min().unwrap();
            fewest += usize::from(least == search.key(best));
            chosen += 1;
        }
        println!("{chosen} chosen, {fewest} of them the very best; {nothing} with nothing left");
        assert!(chosen > 100 && fewest == chosen && nothing > 10);
    }

    #[test]
    fn nothing_barred_needs_no_cut() {
        let (graph, mut costs) = random_graph(&mut Numbers(1));
        costs.barred.fill(false);
        assert!(find_seams(&graph, &costs, &[]).unwrap().is_none());
    }

    /// Wide, heavy, wide: three stages, although two would do for either end.
    #[test]
    fn what_is_barred_at_both_ends_takes_three_stages() {
        let graph = Graph::bare(3, &[(0, vec![1]), (1, vec![2])], &[]);
        let costs = Costs {
            barred: vec![true, false, true],
            macs: vec![10, 1000, 10],
            flagged: vec![0; 3],
            bytes: vec![4, 4],
        };
        let choice = find_seams(&graph, &costs, &[]).unwrap().unwrap();
        assert_eq!(choice.best.pattern, [false, true, false]);
        assert_eq!(choice.best.labels, [0, 1, 2]);
    }
}
