//! LightGBM's text: `save_model`, as versions 3 and 4 write it.
//!
//! Raw outputs are LightGBM's `raw_score`: the leaves of an output's trees,
//! added up from 0 in double precision. That of a random forest
//! (`average_output`) is their sum, too: its link divides it by the iterations.
//! Outputs are what `predict` gives.
//!
//! A number within 1e-35 (as a float) of 0 counts as 0, and so does one that is
//! missing, unless a split has a way of its own for what is missing.
//! Categories are whole numbers: others are cut towards 0.

mod objective;
mod split;
#[cfg(test)]
mod tests;
mod text;
mod trees;

use self::objective::Objective;
use self::text::{Fields, Sections, shown};
use self::trees::Reader;
use super::{Error, Format, TreeModel};
use crate::engine::forest::{Arithmetic, Forest, Frame, Tree};

const FORMAT: Format = Format::Lightgbm;

/// The first line.
pub const MAGIC: &str = "tree";

pub fn read(content: &[u8]) -> Result<TreeModel, Error> {
    let mut sections = Sections::of(content)?;
    let header = sections.header()?;
    check_version(&header)?;
    let n_inputs = n_inputs(&header)?;
    let input_names = input_names(&header, n_inputs)?;
    let n_outputs: usize = header.required("num_tree_per_iteration")?.number()?;
    if n_outputs == 0 || n_outputs > Forest::MAX_OUTPUTS {
        let reason = format!("{n_outputs} outputs, of 1 to {}", Forest::MAX_OUTPUTS);
        return Err(malformed("num_tree_per_iteration", reason));
    }
    let mut reader = Reader::default();
    let mut trees = Vec::new();
    while let Some(fields) = sections.next_tree(trees.len())? {
        let output = (trees.len() % n_outputs) as u32;
        trees.push(Tree { output, nodes: reader.nodes(trees.len(), &fields)? });
    }
    check_number_of_trees(&header, trees.len(), n_outputs)?;
    let objective = Objective::of(&header, n_outputs)?;
    let n_iterations = (trees.len() / n_outputs).max(1);
    let link = objective.link(header.get("average_output").map(|_| n_iterations))?;
    let frame = Frame { n_inputs, base: vec![0.0; n_outputs], arithmetic: Arithmetic::default() };
    let forest = Forest::new(frame, trees).map_err(|source| Error::Forest { format: FORMAT, source })?;
    Ok(TreeModel { format: FORMAT, objective: objective.text, forest, link, input_names })
}

fn check_version(header: &Fields<'_>) -> Result<(), Error> {
    match header.required("version")?.value {
        "v3" | "v4" => Ok(()),
        version => Err(Error::unsupported(FORMAT, format!("the version {:?} of the format", shown(version)))),
    }
}

fn n_inputs(header: &Fields<'_>) -> Result<usize, Error> {
    let greatest: usize = header.required("max_feature_idx")?.number()?;
    match greatest {
        0..Forest::MAX_INPUTS => Ok(greatest + 1),
        _ => {
            let reason = format!("input {greatest}, of at most {} inputs", Forest::MAX_INPUTS);
            Err(malformed("max_feature_idx", reason))
        }
    }
}

fn input_names(header: &Fields<'_>, n_inputs: usize) -> Result<Option<Vec<String>>, Error> {
    let Some(names) = header.get("feature_names") else { return Ok(None) };
    let n_names = names.value.split_ascii_whitespace().count();
    if n_names != n_inputs {
        return Err(malformed("feature_names", format!("{n_names} names of {n_inputs} inputs")));
    }
    Ok(Some(names.value.split_ascii_whitespace().map(str::to_owned).collect()))
}

/// A file that lost some of its trees reads like one of fewer.
fn check_number_of_trees(header: &Fields<'_>, n_trees: usize, n_outputs: usize) -> Result<(), Error> {
    if let Some(sizes) = header.get("tree_sizes") {
        let n_sizes = sizes.value.split_ascii_whitespace().count();
        if n_sizes != n_trees {
            return Err(malformed("tree_sizes", format!("{n_sizes} sizes of {n_trees} trees")));
        }
    }
    match n_trees % n_outputs {
        0 => Ok(()),
        _ => Err(malformed("the trees", format!("{n_trees}, of {n_outputs} in each iteration"))),
    }
}

fn malformed(at: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::malformed(FORMAT, at, reason)
}
