//! Against every way to cut small graphs.

use super::*;
use crate::cut::Shared;
use crate::cut::testing::Numbers;

struct Case {
    graph: Graph<'static>,
    costs: Costs,
    weights: Loads,
    whole: Vec<bool>,
}

fn costs(macs: Vec<u64>, bytes: Vec<u64>) -> Costs {
    Costs {
        barred: vec![false; macs.len()],
        flagged: vec![0; macs.len()],
        macs,
        bytes,
    }
}

fn random_case(random: &mut Numbers) -> Case {
    let nodes = 3 + random.below(5) as usize;
    let (edges, tied) = random.edges(nodes, 4);
    let shared = (0..random.below(3)).map(|i| Shared {
        name: format!("w{i}"),
        bytes: 1 + random.below(9),
        nodes: (0..nodes)
            .filter(|n| (n + i as usize).is_multiple_of(3))
            .collect(),
    });
    let shared = shared.collect();
    let bytes: Vec<u64> = edges.iter().map(|_| random.below(20)).collect();
    Case {
        whole: edges.iter().map(|_| random.below(12) == 0).collect(),
        graph: Graph::bare(nodes, &edges, &tied),
        costs: costs((0..nodes).map(|_| random.below(5)).collect(), bytes),
        weights: Loads {
            own: (0..nodes)
                .map(|_| random.below(4) * random.below(4))
                .collect(),
            shared,
        },
    }
}

/// The worth of a way to cut: the largest part, and what crosses.
fn worth(case: &Case, loads: &Loads, labels: &[usize], parts: usize) -> (u64, i128) {
    let largest = (0..parts).map(|p| loads.together(|n| labels[n] == p)).max();
    let value = case.graph.edges.len() as i128 + 1;
    let mut cost = 0;
    for (edge, &bytes) in case.graph.edges.iter().zip(&case.costs.bytes) {
        let last = edge.to.iter().map(|&t| labels[t]).max().unwrap();
        let seams = last.saturating_sub(labels[edge.from]);
        cost += (i128::from(bytes) * value + 1) * seams as i128;
    }
    (largest.unwrap_or(0), cost)
}

/// Every way to cut into so many parts, none of them empty.
fn all_ways(case: &Case, parts: usize, heavy: &[bool]) -> Vec<Vec<usize>> {
    let graph = &case.graph;
    let nodes = graph.nodes.len();
    let ways = (0..parts.pow(nodes as u32)).map(|mut code| {
        let mut labels = Vec::new();
        for _ in 0..nodes {
            labels.push(code % parts);
            code /= parts;
        }
        labels
    });
    let enough = heavy.iter().filter(|&&h| h).count() >= parts;
    ways.filter(|labels| {
        let ordered = graph.edges.iter().zip(&case.whole).all(|(e, whole)| {
            let here = labels[e.from];
            e.to.iter().all(|&t| {
                if *whole {
                    labels[t] == here
                } else {
                    labels[t] >= here
                }
            })
        });
        let tied = graph
            .tied
            .iter()
            .all(|(t, _)| t.iter().all(|&n| labels[n] == labels[t[0]]));
        let full = (0..parts).all(|p| (0..nodes).any(|n| labels[n] == p && (!enough || heavy[n])));
        ordered && tied && full
    })
    .collect()
}

/// For each node, whether it is the first of a unit that weighs something.
fn heavy(case: &Case, counted: &[&Loads]) -> (Vec<bool>, Vec<bool>) {
    let units = Units::new(&case.graph, &case.costs.bytes, &case.whole);
    let mut weighs = vec![false; case.graph.nodes.len()];
    let mut first = weighs.clone();
    for nodes in &units.nodes {
        if counted
            .iter()
            .any(|l| l.together(|n| nodes.contains(&n)) > 0)
        {
            nodes.iter().for_each(|&n| weighs[n] = true);
            first[nodes[0]] = true;
        }
    }
    (weighs, first)
}

#[test]
fn no_way_is_better() {
    let mut random = Numbers(11);
    let (mut chosen, mut refused, mut limited) = (0, 0, 0);
    for round in 0..600 {
        let case = random_case(&mut random);
        let macs = Loads::multiply_adds(&case.costs);
        let balance = if round % 4 == 0 { &macs } else { &case.weights };
        let limit = (round % 3 == 0).then(|| 4 + random.below(25));
        let parts = 2 + random.below(2) as usize;
        let slack = [0, 0, 30][random.below(3) as usize];
        let wish = Wish {
            parts: (round % 6 != 0).then_some(parts),
            limit,
            balance,
            weights: &case.weights,
            slack,
            whole: &case.whole,
            first: None,
            last: None,
        };
        let mut counted = vec![balance];
        counted.extend(limit.map(|_| &case.weights));
        let (weighs, firsts) = heavy(&case, &counted);
        let enough = |p: usize| firsts.iter().filter(|&&f| f).count() >= p;
        let fits = |labels: &Vec<usize>, p: usize| {
            limit.is_none_or(|l| worth(&case, &case.weights, labels, p).0 <= l)
        };
        let ways = |p: usize| -> Vec<Vec<usize>> {
            let shown = if enough(p) {
                weighs.clone()
            } else {
                vec![false; weighs.len()]
            };
            let mut all = all_ways(&case, p, &shown);
            all.retain(|labels| fits(labels, p));
            all
        };
        let (parts, all) = match wish.parts {
            Some(parts) => (parts, ways(parts)),
            None => (1..=4)
                .map(|p| (p, ways(p)))
                .find(|(_, w)| !w.is_empty())
                .unwrap_or((0, Vec::new())),
        };
        let found = super::balance(&case.graph, &case.costs, &wish);
        if all.is_empty() {
            if wish.parts.is_none() && found.is_ok() {
                // More than four parts are not tried here.
                continue;
            }
            assert!(found.is_err(), "{found:?}");
            refused += 1;
            continue;
        }
        let found = found.unwrap();
        super::super::Plan::new(&case.graph, &found.labels).unwrap();
        assert!(found.all_compared && fits(&found.labels, parts));
        assert_eq!(found.loads.len(), parts, "round {round}");
        let worths: Vec<(u64, i128)> = all
            .iter()
            .map(|labels| worth(&case, balance, labels, parts))
            .collect();
        let least = worths.iter().map(|w| w.0).min().unwrap();
        assert_eq!(found.least, least, "round {round}");
        let bound = least + least * slack / 100;
        let cheapest = worths
            .iter()
            .filter(|w| w.0 <= bound)
            .map(|w| w.1)
            .min()
            .unwrap();
        let (largest, cost) = worth(&case, balance, &found.labels, parts);
        assert!(largest <= bound, "round {round}");
        assert_eq!(cost, cheapest, "round {round}: {:?}", found.labels);
        assert_eq!(found.loads.iter().max(), Some(&largest));
        chosen += 1;
        limited += usize::from(limit.is_some());
    }
    println!("{chosen} cuts are the best of all, {limited} of them limited; {refused} impossible");
    assert!(chosen > 300 && limited > 50 && refused > 30);
}

/// Layers of four operations with weights and two without, in a residual
/// stream: `a = f(x); b = g(a); y = x + b`.
fn layers(count: usize, weight: u64) -> Case {
    let mut edges = Vec::new();
    let mut own = vec![3 * weight];
    let mut bytes = vec![64];
    let mut stream = 0;
    let mut node = 1;
    for _ in 0..count {
        // stream -> norm -> three in a row -> sum
        edges.push((stream, vec![node, node + 4]));
        for inner in 0..4 {
            edges.push((node + inner, vec![node + inner + 1]));
        }
        own.extend([0, weight, weight, 2 * weight, 0]);
        bytes.extend([64, 64, 16, 64, 64]);
        stream = node + 4;
        node += 5;
    }
    edges.push((stream, vec![node]));
    own.push(3 * weight);
    bytes.truncate(edges.len());
    while bytes.len() < edges.len() {
        bytes.push(64);
    }
    Case {
        graph: Graph::bare(node + 1, &edges, &[]),
        costs: costs(vec![1; node + 1], bytes),
        whole: vec![false; edges.len()],
        weights: Loads {
            own,
            shared: Vec::new(),
        },
    }
}

fn wish<'a>(case: &'a Case, parts: usize, slack: u64) -> Wish<'a> {
    Wish {
        parts: Some(parts),
        limit: None,
        balance: &case.weights,
        weights: &case.weights,
        slack,
        whole: &case.whole,
        first: None,
        last: None,
    }
}

#[test]
fn layers_are_cut_between_layers() {
    let case = layers(12, 100);
    for parts in 2..6 {
        let found = super::balance(&case.graph, &case.costs, &wish(&case, parts, 25)).unwrap();
        assert!(found.all_compared);
        assert_eq!(found.bytes, vec![64; parts - 1], "one value crosses");
        assert_eq!(found.between_blocks, vec![true; parts - 1]);
        println!("{parts} parts: {:?}, least {}", found.loads, found.least);
    }
}

#[test]
fn both_ends_can_be_apart() {
    let case = layers(6, 100);
    let nodes = case.graph.nodes.len();
    let (first, last) = ([0], [nodes - 1]);
    let wish = Wish {
        first: Some(&first),
        last: Some(&last),
        ..wish(&case, 4, 10)
    };
    let found = super::balance(&case.graph, &case.costs, &wish).unwrap();
    assert_eq!(found.loads, [300, 1200, 1200, 300]);
    let few = Wish {
        parts: Some(2),
        ..wish
    };
    let error = super::balance(&case.graph, &case.costs, &few).unwrap_err();
    assert!(
        matches!(error, Error::NoneLeft { asked: 2, least: 3 }),
        "{error}"
    );
}

/// Towers side by side have too many sets to compare all.
#[test]
fn wide_graphs_are_cut_too() {
    let towers = 12;
    let length = 5;
    let nodes = towers * length;
    let edges: Vec<(usize, Vec<usize>)> = (0..nodes)
        .filter(|n| n % length + 1 < length)
        .map(|n| (n, vec![n + 1]))
        .collect();
    let case = Case {
        costs: costs(vec![1; nodes], vec![8; edges.len()]),
        whole: vec![false; edges.len()],
        graph: Graph::bare(nodes, &edges, &[]),
        weights: Loads {
            own: vec![10; nodes],
            shared: Vec::new(),
        },
    };
    let found = super::balance(&case.graph, &case.costs, &wish(&case, 4, 0)).unwrap();
    assert!(!found.all_compared);
    assert_eq!(found.loads, [150; 4]);
    assert_eq!(found.bytes, [0; 3], "tower by tower");
}

#[test]
fn what_cannot_be_is_explained() {
    let mut case = layers(3, 100);
    let limit = |case: &Case, limit: u64| {
        let wish = Wish {
            parts: None,
            limit: Some(limit),
            ..wish(case, 1, 0)
        };
        super::balance(&case.graph, &case.costs, &wish)
    };
    let error = limit(&case, 299).unwrap_err();
    println!("{error}");
    assert!(matches!(
        error,
        Error::TooHeavy {
            own: 300,
            with: 0,
            limit: 299,
            ..
        }
    ));
    let found = limit(&case, 300).unwrap();
    assert!(
        found.loads.iter().all(|&l| l <= 300) && found.loads.len() == 7,
        "{found:?}"
    );
    assert_eq!(limit(&case, 5000).unwrap().loads, [1800]);
    let nodes = case.graph.nodes.len();
    let error = super::balance(&case.graph, &case.costs, &wish(&case, nodes + 1, 0)).unwrap_err();
    println!("{error}");
    assert!(matches!(error, Error::TooMany { asked, most, .. } if asked == most + 1));
    // A state that every layer uses.
    case.graph
        .tied
        .push((vec![1, nodes - 2], "they use one state".to_owned()));
    let error = super::balance(&case.graph, &case.costs, &wish(&case, 5, 0)).unwrap_err();
    println!("{error}");
    assert!(matches!(error, Error::TooMany { most, .. } if most < 5));
    let error = limit(&case, 1100).unwrap_err();
    println!("{error}");
    assert!(error.to_string().contains("one state"));
}
