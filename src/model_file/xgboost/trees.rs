//! Trees: lists by node, the first of which is the root.

use super::form::TreeForm;
use crate::engine::forest::{self, Condition, Forest, Leaf, Node, Ranges, Side, Split};
use crate::model_file::{Error, Format};

/// No child: the node is a leaf.
const NO_CHILD: i32 = -1;
/// The input of nodes that pruning took out, which stay in the lists.
const DELETED: u32 = i32::MAX as u32;
/// From here on numbers are no categories.
const MAX_CATEGORY: i32 = 1 << 24;

pub struct Reader {
    format: Format,
    /// Of all trees so far.
    n_nodes: usize,
    n_categories: usize,
}

/// Where the categories of each node are.
struct Segments(Vec<Option<(usize, usize)>>);

impl Reader {
    pub fn new(format: Format) -> Self {
        Self { format, n_nodes: 0, n_categories: 0 }
    }

    /// The nodes of a tree whose leaves are multiplied by `weight`.
    pub fn nodes(&mut self, tree: usize, form: &TreeForm, weight: f32) -> Result<Vec<Node>, Error> {
        self.check(tree, form)?;
        let segments = self.segments(tree, form)?;
        let places = places(form);
        let n = form.left_children.0.len();
        let mut nodes = Vec::with_capacity(n);
        for node in (0..n).filter(|&node| places[node].is_some()) {
            let cover = form.sum_hessian.0.get(node).map_or(0.0, |cover| f64::from(cover.0));
            let (left, right) = (form.left_children.0[node], form.right_children.0[node]);
            let condition = form.split_conditions.0[node].0;
            if left == NO_CHILD && right == NO_CHILD {
                let value = f64::from(condition * weight);
                nodes.push(Node::Leaf(Leaf { value, cover }));
                continue;
            }
            let place = |child: i32| usize::try_from(child).ok().and_then(|child| *places.get(child)?);
            let (Some(left), Some(right)) = (place(left), place(right)) else {
                return Err(self.malformed(tree, node, format!("children {left} and {right}, of {n} nodes")));
            };
            let default = if form.default_left.0[node].0 { Side::Left } else { Side::Right };
            let input = form.split_indices.0[node];
            let split = Split {
                input,
                condition: Condition::Less(f64::from(condition)),
                missing: default,
                zero_is_missing: false,
                left,
                right,
                cover,
            };
            nodes.push(Node::Split(match form.split_type.0.get(node) {
                None | Some(0) => split,
                Some(1) => {
                    let segment = segments.0[node].unwrap_or_default();
                    self.by_categories(tree, node, &form.categories.0[segment.0..segment.1], split)?
                }
                Some(kind) => return Err(self.malformed(tree, node, format!("split_type {kind}"))),
            }));
        }
        Ok(nodes)
    }

    /// The split that sends the categories to its right child, as one that sends
    /// them left.
    fn by_categories(
        &self,
        tree: usize,
        node: usize,
        categories: &[i32],
        split: Split,
    ) -> Result<Split, Error> {
        if let Some(category) = categories.iter().find(|&category| !(0..MAX_CATEGORY).contains(category)) {
            return Err(self.malformed(tree, node, format!("the category {category}, of 0 to 2^24 - 1")));
        }
        let ranges = categories.iter().map(|&category| (f64::from(category), f64::from(category) + 1.0));
        let missing = match split.missing {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        };
        let condition = Condition::OneOf(Ranges::of(ranges));
        Ok(Split { condition, missing, left: split.right, right: split.left, ..split })
    }

    /// That lists are as long as they must be, before anything is built of them.
    fn check(&mut self, tree: usize, form: &TreeForm) -> Result<(), Error> {
        if form.tree_param.size_leaf_vector.0 > 1 {
            let what = "a tree whose leaves have several outputs (multi_output_tree)";
            return Err(Error::unsupported(self.format, what));
        }
        let n = form.left_children.0.len();
        let or_none = |length: usize| if length == 0 { n } else { length };
        for (name, length) in [
            ("tree_param.num_nodes", form.tree_param.num_nodes.0),
            ("right_children", form.right_children.0.len()),
            ("split_indices", form.split_indices.0.len()),
            ("split_conditions", form.split_conditions.0.len()),
            ("default_left", form.default_left.0.len()),
            ("split_type", or_none(form.split_type.0.len())),
            ("sum_hessian", or_none(form.sum_hessian.0.len())),
        ] {
            if length != n {
                let at = format!("trees[{tree}].{name}");
                return Err(Error::malformed(
                    self.format,
                    at,
                    format!("{length} nodes, but left_children has {n}"),
                ));
            }
        }
        self.n_nodes += n;
        self.n_categories += form.categories.0.len();
        let source = if self.n_nodes > Forest::MAX_NODES {
            forest::Error::TooManyNodes { tree }
        } else if self.n_categories > Forest::MAX_RANGE_ENDS / 2 {
            forest::Error::TooManyRanges { tree }
        } else {
            return Ok(());
        };
        Err(Error::Forest { format: self.format, source })
    }

    /// Segments follow each other, so that what is built of a file is no more
    /// than it holds.
    fn segments(&self, tree: usize, form: &TreeForm) -> Result<Segments, Error> {
        let mut found = vec![None; form.left_children.0.len()];
        let (nodes, starts) = (&form.categories_nodes.0, &form.categories_segments.0);
        let sizes = &form.categories_sizes.0;
        let malformed = |at: String, reason: String| {
            Err(Error::malformed(self.format, format!("trees[{tree}].categories_{at}"), reason))
        };
        if starts.len() != nodes.len() || sizes.len() != nodes.len() {
            let reason = format!("{}, {} segments and {} sizes", nodes.len(), starts.len(), sizes.len());
            return malformed("nodes".to_owned(), reason);
        }
        let mut end = 0;
        for (index, ((&node, &start), &size)) in nodes.iter().zip(starts).zip(sizes).enumerate() {
            let Some(found) = found.get_mut(node as usize).filter(|found| found.is_none()) else {
                return malformed(format!("nodes[{index}]"), format!("no node {node}, or twice"));
            };
            let n_left = form.categories.0.len() - end;
            let (start, size) = (start as usize, size as usize);
            if start != end || size > n_left {
                let reason = format!("{size} from {start} on, but {n_left} are left from {end} on");
                return malformed(format!("segments[{index}]"), reason);
            }
            *found = Some((end, end + size));
            end += size;
        }
        Ok(Segments(found))
    }

    fn malformed(&self, tree: usize, node: usize, reason: String) -> Error {
        Error::malformed(self.format, format!("trees[{tree}], node {node}"), reason)
    }
}

/// By node its place among those that were not deleted.
fn places(form: &TreeForm) -> Vec<Option<u32>> {
    let mut n = 0;
    let is_deleted = |node: usize| form.split_indices.0[node] == DELETED && form.default_left.0[node].0;
    let mut place = |node: usize| {
        if node > 0 && is_deleted(node) {
            return None;
        }
        n += 1;
        Some(n - 1)
    };
    (0..form.left_children.0.len()).map(&mut place).collect()
}
