//! XGBoost's JSON and UBJSON: `save_model`, as versions 1 to 3 write them.
//!
//! Raw outputs are XGBoost's margins: the base score and then the leaves of an
//! output's trees in their order, all in single precision, as are inputs and
//! thresholds. Outputs are what `predict` gives, but for `multi:softmax`: the
//! probabilities of the classes, where `predict` gives the greatest's number.
//!
//! A row goes left if `value < threshold`. A split on categories sends those it
//! lists right, and all else left, be it a category or not.
//!
//! All trees count, as in `Booster.predict`, also those behind `best_iteration`.

mod form;
mod objective;
#[cfg(test)]
mod tests;
mod trees;

use std::borrow::Cow;

use self::form::{BoosterForm, LearnerForm, ModelForm, NAN, ParametersForm, TreesForm};
use self::trees::Reader;
use super::{Error, Format, TreeModel, json, ubjson};
use crate::engine::forest::{Arithmetic, Forest, Frame, Precision, Tree};

pub fn read_json(content: &[u8]) -> Result<TreeModel, Error> {
    let model: ModelForm = json::read(Format::XgboostJson, &with_nan(content))?;
    model_of(Format::XgboostJson, model)
}

pub fn read_ubjson(content: &[u8]) -> Result<TreeModel, Error> {
    let model: ModelForm = ubjson::read(Format::XgboostUbjson, content)?;
    model_of(Format::XgboostUbjson, model)
}

/// XGBoost writes `NaN`, as the threshold of splits on categories, which is no JSON.
fn with_nan(content: &[u8]) -> Cow<'_, [u8]> {
    let mut content = Cow::Borrowed(content);
    let (mut at, mut is_text) = (0, false);
    while let Some(&byte) = content.get(at) {
        match byte {
            b'"' => is_text = !is_text,
            b'\\' => at += 1,
            b'N' if !is_text && content[at..].starts_with(b"NaN") => {
                content.to_mut()[at..at + NAN.len()].copy_from_slice(NAN);
                at += NAN.len() - 1;
            }
            _ => {}
        }
        at += 1;
    }
    content
}

fn model_of(format: Format, model: ModelForm) -> Result<TreeModel, Error> {
    let LearnerForm { feature_names, gradient_booster, learner_model_param, objective } = model.learner;
    let (form, weights) = gradient_booster.trees(format)?;
    let n_inputs = learner_model_param.num_feature.0;
    let n_outputs = learner_model_param.num_class.0.max(learner_model_param.num_target.0).max(1);
    if n_inputs > Forest::MAX_INPUTS || n_outputs > Forest::MAX_OUTPUTS {
        let reason = format!("{n_inputs} inputs and {n_outputs} outputs");
        return Err(Error::malformed(format, "learner.learner_model_param", reason));
    }
    let input_names = match feature_names.0 {
        names if names.is_empty() => None,
        names if names.len() == n_inputs => Some(names),
        names => {
            let reason = format!("{} names of {n_inputs} inputs", names.len());
            return Err(Error::malformed(format, "learner.feature_names", reason));
        }
    };
    let base = base(format, &learner_model_param, &objective.name, n_outputs)?;
    let link = objective::link(format, &objective.name, n_outputs)?;
    let mut reader = Reader::new(format);
    let mut trees = Vec::with_capacity(form.trees.0.len());
    for (index, (tree, &output)) in form.trees.0.iter().zip(&form.tree_info.0).enumerate() {
        let weight = weights.as_ref().map_or(1.0, |weights| weights[index]);
        trees.push(Tree { output, nodes: reader.nodes(index, tree, weight)? });
    }
    let arithmetic =
        Arithmetic { inputs: Precision::Single, sums: Precision::Single, ..Arithmetic::default() };
    let forest = Forest::new(Frame { n_inputs, base, arithmetic }, trees)
        .map_err(|source| Error::Forest { format, source })?;
    Ok(TreeModel { format, objective: objective.name, forest, link, input_names })
}

/// The margin that each output starts from.
fn base(
    format: Format,
    parameters: &ParametersForm,
    objective: &str,
    n_outputs: usize,
) -> Result<Vec<f64>, Error> {
    let scores = &parameters.base_score.0;
    let margin = |&score: &f32| f64::from(objective::margin(objective, score));
    match scores.len() {
        1 => Ok(vec![margin(&scores[0]); n_outputs]),
        n if n == n_outputs => Ok(scores.iter().map(margin).collect()),
        n => {
            let reason = format!("{n} numbers of {n_outputs} outputs");
            Err(Error::malformed(format, "learner.learner_model_param.base_score", reason))
        }
    }
}

impl BoosterForm {
    /// The trees and, of DART, what the leaves of each are multiplied by.
    fn trees(self, format: Format) -> Result<(TreesForm, Option<Vec<f32>>), Error> {
        let malformed = |at: &str, reason: String| Err(Error::malformed(format, at, reason));
        let (model, weights) = match &*self.name {
            "gbtree" => (self.model, None),
            "dart" => (self.gbtree.and_then(|booster| booster.model), Some(self.weight_drop.0)),
            name => return Err(Error::unsupported(format, format!("the booster {name}"))),
        };
        let Some(model) = model.and_then(|model| model.of_trees()) else {
            return malformed("learner.gradient_booster", "no model with trees and tree_info".to_owned());
        };
        let n_trees = model.trees.0.len();
        let said = model.gbtree_model_param.num_trees.0;
        if said != n_trees || model.tree_info.0.len() != n_trees {
            let reason =
                format!("{n_trees}, but num_trees is {said} and tree_info has {}", model.tree_info.0.len());
            return malformed("trees", reason);
        }
        match &weights {
            Some(weights) if weights.len() != n_trees => malformed(
                "learner.gradient_booster.weight_drop",
                format!("{} of {n_trees} trees", weights.len()),
            ),
            _ => Ok((model, weights)),
        }
    }
}
