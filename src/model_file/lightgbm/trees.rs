//! Trees: splits and leaves are numbered apart, a child that is a leaf by `-1 - leaf`.

use super::split::{Decision, Question, n_ranges};
use super::text::{Field, Fields, Threshold};
use super::{FORMAT, malformed};
use crate::engine::forest::{self, Forest, Leaf, Node, Split};
use crate::model_file::{Error, sum_covers};

/// Words of 32 categories each, of numbers of 32 bits.
const MAX_WORDS: u32 = 1 << 26;

/// What all trees so far come to.
#[derive(Default)]
pub struct Reader {
    n_nodes: usize,
    n_range_ends: usize,
}

impl Reader {
    /// The nodes of a tree: its splits and, behind them, its leaves.
    pub fn nodes(&mut self, tree: usize, fields: &Fields<'_>) -> Result<Vec<Node>, Error> {
        if fields.get("is_linear").is_some_and(|field| field.value != "0") {
            return Err(Error::unsupported(FORMAT, "a tree of linear models (linear_tree)"));
        }
        let n_leaves: usize = fields.required("num_leaves")?.number()?;
        self.make_room(tree, n_leaves)?;
        let Some(n_splits) = n_leaves.checked_sub(1) else {
            return Err(malformed(format!("tree {tree}"), "no leaf"));
        };
        let inputs: Vec<u32> = fields.numbers("split_feature", n_splits)?;
        let left = Children::read(fields, "left_child", n_splits)?;
        let right = Children::read(fields, "right_child", n_splits)?;
        let mut nodes = Vec::with_capacity(n_splits + n_leaves);
        for (index, (question, input)) in
            self.questions(tree, fields, n_splits)?.into_iter().zip(inputs).enumerate()
        {
            let Question { condition, missing, zero_is_missing } = question;
            let (left, right) = (left.node(index)?, right.node(index)?);
            nodes.push(Node::Split(Split {
                input,
                condition,
                missing,
                zero_is_missing,
                left,
                right,
                cover: 0.0,
            }));
        }
        let values: Vec<f64> = fields.numbers("leaf_value", n_leaves)?;
        let covers = match fields.get("leaf_count") {
            Some(counts) if !counts.value.is_empty() => counts.numbers(n_leaves)?,
            _ => vec![0.0; n_leaves],
        };
        let leaves = values.into_iter().zip(covers);
        nodes.extend(leaves.map(|(value, cover)| Node::Leaf(Leaf { value, cover })));
        sum_covers(&mut nodes);
        Ok(nodes)
    }

    /// Checks a tree of so many leaves before any of it is built.
    fn make_room(&mut self, tree: usize, n_leaves: usize) -> Result<(), Error> {
        let refuse = |source| Err(Error::Forest { format: FORMAT, source });
        if tree >= Forest::MAX_TREES {
            return refuse(forest::Error::TooManyTrees { n_trees: tree + 1 });
        }
        self.n_nodes = self.n_nodes.saturating_add(n_leaves.saturating_mul(2));
        // A tree has a leaf more than it has splits.
        if self.n_nodes > Forest::MAX_NODES + tree + 1 {
            return refuse(forest::Error::TooManyNodes { tree });
        }
        Ok(())
    }

    fn questions(
        &mut self,
        tree: usize,
        fields: &Fields<'_>,
        n_splits: usize,
    ) -> Result<Vec<Question>, Error> {
        if n_splits == 0 {
            return Ok(Vec::new());
        }
        let field = fields.required("threshold")?;
        let thresholds: Vec<Threshold> = field.numbers(n_splits)?;
        let of_types = fields.required("decision_type")?;
        let types: Vec<u32> = of_types.numbers(n_splits)?;
        let mut sets = Sets::read(fields, n_splits)?;
        let mut questions = Vec::with_capacity(n_splits);
        for (index, (Threshold(threshold), bits)) in thresholds.into_iter().zip(types).enumerate() {
            let question = match Decision::of(bits) {
                Some(Decision::Numerical { missing, default }) => {
                    Question::numerical(threshold, missing, default)
                }
                Some(Decision::Categorical) => {
                    let words = sets.take(threshold).map_err(|reason| field.malformed(index, reason))?;
                    // Counted before they are made: a file of them would be many times its size.
                    self.n_range_ends = self.n_range_ends.saturating_add(2 * n_ranges(words));
                    if self.n_range_ends > Forest::MAX_RANGE_ENDS {
                        return Err(Error::Forest {
                            format: FORMAT,
                            source: forest::Error::TooManyRanges { tree },
                        });
                    }
                    Question::categorical(words)
                }
                None => return Err(of_types.malformed(index, format!("{bits} is no type of a decision"))),
            };
            questions.push(question);
        }
        Ok(questions)
    }
}

/// The children of each split on one side.
struct Children<'a> {
    field: Option<Field<'a>>,
    numbers: Vec<i32>,
}

impl<'a> Children<'a> {
    fn read(fields: &Fields<'a>, name: &str, n_splits: usize) -> Result<Self, Error> {
        Ok(Self { field: fields.get(name).copied(), numbers: fields.numbers(name, n_splits)? })
    }

    /// The child of a split as an index into all nodes.
    fn node(&self, split: usize) -> Result<u32, Error> {
        let n_splits = self.numbers.len();
        let number = self.numbers[split];
        let (index, n, of) = match number {
            0.. => (number as usize, n_splits, "splits"),
            _ => (!number as usize, n_splits + 1, "leaves"),
        };
        match self.field {
            Some(field) if index >= n => Err(field.malformed(split, format!("{number} is none of {n} {of}"))),
            _ => Ok((if number < 0 { n_splits + index } else { index }) as u32),
        }
    }
}

/// The sets of categories of a tree, of a split each.
struct Sets {
    /// Where the words of each set begin, and where the last one's end.
    bounds: Vec<usize>,
    words: Vec<u32>,
    taken: Vec<bool>,
}

impl Sets {
    fn read(fields: &Fields<'_>, n_splits: usize) -> Result<Self, Error> {
        let n_sets = match fields.get("num_cat") {
            Some(field) => field.number()?,
            None => 0,
        };
        if n_sets == 0 {
            return Ok(Self { bounds: Vec::new(), words: Vec::new(), taken: Vec::new() });
        }
        if n_sets > n_splits {
            return Err(fields
                .required("num_cat")?
                .malformed(0, format!("{n_sets} sets of {n_splits} splits")));
        }
        let field = fields.required("cat_boundaries")?;
        let bounds: Vec<u32> = field.numbers(n_sets + 1)?;
        let is_no_set = |pair: &[u32]| pair[0] > pair[1] || pair[1] - pair[0] > MAX_WORDS;
        if bounds[0] != 0 {
            return Err(field.malformed(0, format!("{} is not 0", bounds[0])));
        }
        if let Some(index) = bounds.windows(2).position(is_no_set) {
            let reason = format!("{} to {} are no bounds of a set", bounds[index], bounds[index + 1]);
            return Err(field.malformed(index + 1, reason));
        }
        let bounds: Vec<usize> = bounds.into_iter().map(|bound| bound as usize).collect();
        let words = fields.required("cat_threshold")?.numbers(bounds[n_sets])?;
        Ok(Self { bounds, words, taken: vec![false; n_sets] })
    }

    /// The words of the set that a threshold names. Each is named by one split,
    /// so that what is built of a file is no more than it holds.
    fn take(&mut self, threshold: f64) -> Result<&[u32], String> {
        let n_sets = self.taken.len();
        let set = threshold as usize;
        if set >= n_sets || set as f64 != threshold {
            return Err(format!("{threshold} is none of {n_sets} sets of categories"));
        }
        if std::mem::replace(&mut self.taken[set], true) {
            return Err(format!("two splits have the set of categories {set}"));
        }
        Ok(&self.words[self.bounds[set]..self.bounds[set + 1]])
    }
}
