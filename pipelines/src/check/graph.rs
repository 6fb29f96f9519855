//! The stages of a file as a graph over topics. It is read from the tree and forgives what is missing, so
//! that wiring is checked even in a file whose words are wrong elsewhere. It says what there is; `wiring`
//! says what is wrong with it.

use std::collections::BTreeMap;

use crate::diagnostic::Position;
use crate::yaml::Node;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StageKind {
    Source,
    Transform,
    Sink,
}

impl StageKind {
    pub fn section(self) -> &'static str {
        match self {
            StageKind::Source => "sources",
            StageKind::Transform => "transforms",
            StageKind::Sink => "sinks",
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            StageKind::Source => "source",
            StageKind::Transform => "transform",
            StageKind::Sink => "sink",
        }
    }
}

/// A name, and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    pub at: Position,
}

/// A stage and the topics it touches.
#[derive(Clone, Debug)]
pub struct Stage<'a> {
    pub kind: StageKind,
    pub name: Named,
    pub node: &'a Node,
    pub reads: Vec<Named>,
    pub writes: Option<Named>,
    pub dead_letters: Option<Named>,
}

impl Stage<'_> {
    /// What it was called before, and where that is said.
    pub fn renamed_from(&self) -> Option<Named> {
        self.node.get("renamed_from").and_then(named)
    }

    /// The name under which its place and its state are kept.
    pub fn kept_as(&self) -> String {
        self.renamed_from().map_or_else(|| self.name.name.clone(), |before| before.name)
    }
}

/// All stages, and all declared topics.
#[derive(Clone, Debug)]
pub struct Graph<'a> {
    pub stages: Vec<Stage<'a>>,
    pub declared: Vec<Named>,
}

impl<'a> Graph<'a> {
    /// `query_reads` gives the topics that a query's text reads, each with its place within the file.
    pub fn of(root: &'a Node, query_reads: &dyn Fn(&Node) -> Vec<Named>) -> Graph<'a> {
        let default_dead_letters = dead_letters_of(root);
        let mut stages = Vec::new();
        for kind in [StageKind::Source, StageKind::Transform, StageKind::Sink] {
            for entry in root.get(kind.section()).map(Node::entries).unwrap_or_default() {
                let node = &entry.value;
                let name = Named { name: entry.key.clone(), at: entry.key_at };
                let writes = match kind {
                    StageKind::Source => node.get("to").and_then(|to| to.get("topic")).and_then(named),
                    StageKind::Transform => node.get("to").map_or_else(|| Some(name.clone()), named),
                    StageKind::Sink => None,
                };
                let reads = match (kind, node.get("sql")) {
                    (StageKind::Source, _) => Vec::new(),
                    (StageKind::Transform, Some(sql)) => query_reads(sql),
                    (StageKind::Transform | StageKind::Sink, _) => {
                        node.get("from").map(all_named).unwrap_or_default()
                    }
                };
                let dead_letters = if node.get("on_error").is_some() {
                    dead_letters_of(node)
                } else {
                    default_dead_letters.clone()
                };
                stages.push(Stage { kind, name, node, reads, writes, dead_letters });
            }
        }
        let topics = root.get("topics").map(Node::entries).unwrap_or_default();
        let declared =
            topics.iter().map(|entry| Named { name: entry.key.clone(), at: entry.key_at }).collect();
        Graph { stages, declared }
    }

    /// Every topic that this file declares, writes or sends dead letters to.
    pub fn topics(&self) -> Vec<&str> {
        let written = self.stages.iter().flat_map(|stage| [&stage.writes, &stage.dead_letters]).flatten();
        let mut topics: Vec<&str> =
            self.declared.iter().chain(written).map(|topic| topic.name.as_str()).collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    /// For each stage, the stages whose output or dead letters it reads, by index.
    pub fn upstreams(&self) -> Vec<Vec<usize>> {
        let mut writers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, stage) in self.stages.iter().enumerate() {
            for topic in [&stage.writes, &stage.dead_letters].into_iter().flatten() {
                writers.entry(&topic.name).or_default().push(index);
            }
        }
        let of_stage = |stage: &Stage<'_>| {
            let mut upstreams: Vec<usize> = stage
                .reads
                .iter()
                .filter_map(|topic| writers.get(topic.name.as_str()))
                .flatten()
                .copied()
                .collect();
            upstreams.sort_unstable();
            upstreams.dedup();
            upstreams
        };
        self.stages.iter().map(of_stage).collect()
    }

    /// The stages so that each comes after all it reads from, or the stages of a cycle, in its order.
    pub fn order(&self) -> Result<Vec<usize>, Vec<usize>> {
        topological_order(&self.upstreams())
    }
}

/// Indices so that each comes after its upstreams, or those of one cycle.
pub fn topological_order(upstreams: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut order = Vec::with_capacity(upstreams.len());
    let mut placed = vec![false; upstreams.len()];
    loop {
        let ready: Vec<usize> = (0..upstreams.len())
            .filter(|&stage| !placed[stage] && upstreams[stage].iter().all(|&upstream| placed[upstream]))
            .collect();
        if ready.is_empty() {
            break;
        }
        for stage in ready {
            placed[stage] = true;
            order.push(stage);
        }
    }
    let Some(start) = placed.iter().position(|placed| !placed) else {
        return Ok(order);
    };
    // Every stage left has an upstream that is left too: walking up from one must come back to a stage seen
    // before.
    let mut walk = vec![start];
    loop {
        let last = walk[walk.len() - 1];
        let Some(&next) = upstreams[last].iter().find(|&&upstream| !placed[upstream]) else {
            return Err(walk);
        };
        if let Some(first) = walk.iter().position(|&stage| stage == next) {
            let mut cycle = walk.split_off(first);
            cycle.reverse();
            return Err(cycle);
        }
        walk.push(next);
    }
}

fn named(node: &Node) -> Option<Named> {
    node.tag.is_none().then(|| node.text())?.map(|name| Named { name: name.to_owned(), at: node.at })
}

fn all_named(node: &Node) -> Vec<Named> {
    named(node).into_iter().chain(node.items().iter().filter_map(named)).collect()
}

/// The topic under `on_error`, if it names one.
fn dead_letters_of(node: &Node) -> Option<Named> {
    node.get("on_error").and_then(|on_error| on_error.get("to")).and_then(named)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_order_puts_every_stage_after_its_upstreams_and_a_cycle_is_one(
            edges in vec(vec(0usize..8, 0..3), 8),
        ) {
            match topological_order(&edges) {
                Ok(order) => {
                    prop_assert_eq!(order.len(), edges.len());
                    for (place, stage) in order.iter().enumerate() {
                        for upstream in &edges[*stage] {
                            prop_assert!(order[..place].contains(upstream));
                        }
                    }
                }
                Err(cycle) => {
                    prop_assert!(!cycle.is_empty());
                    for (place, stage) in cycle.iter().enumerate() {
                        let upstream = cycle[(place + cycle.len() - 1) % cycle.len()];
                        prop_assert!(edges[*stage].contains(&upstream), "{:?} {:?}", cycle, edges);
                    }
                }
            }
        }
    }
}
