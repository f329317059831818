//! CatBoost's JSON: `save_model(path, format="json")`.
//!
//! Raw outputs are CatBoost's `RawFormulaVal`: `scale * (tree 0 + tree 1 + …) +
//! bias`, in double precision, with inputs rounded to single precision.
//! Outputs are its `Probability` (of the second class, where there are two),
//! `Exponent` for Poisson and Tweedie, and the raw outputs for all else.
//!
//! A row goes right if `value > border`. A missing value goes where the
//! input's `nan_value_treatment` says: right if it is `AsTrue`, else left.

mod objective;
#[cfg(test)]
mod tests;
mod trees;

use serde::Deserialize;
use serde_json::Value;

use self::trees::{NodeForm, ObliviousForm, Reader};
use super::{Error, Format, TreeModel, json};
use crate::engine::forest::{Arithmetic, Forest, Frame, Precision};

const FORMAT: Format = Format::CatboostJson;

#[derive(Deserialize)]
struct ModelForm {
    features_info: FeaturesForm,
    #[serde(default)]
    model_info: Value,
    oblivious_trees: Option<Vec<ObliviousForm>>,
    trees: Option<Vec<NodeForm>>,
    /// `[scale, [bias, …]]`; of old versions `[scale, bias]`.
    scale_and_bias: Option<(f64, BiasForm)>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum BiasForm {
    One(f64),
    ByOutput(Vec<f64>),
}

#[derive(Deserialize)]
struct FeaturesForm {
    #[serde(default)]
    float_features: Vec<FloatFeatureForm>,
    #[serde(default)]
    categorical_features: Vec<FeatureForm>,
    #[serde(default)]
    text_features: Vec<FeatureForm>,
    #[serde(default)]
    embedding_features: Vec<FeatureForm>,
}

#[derive(Deserialize)]
struct FloatFeatureForm {
    feature_index: u32,
    #[serde(default)]
    nan_value_treatment: NanForm,
    #[serde(flatten)]
    feature: FeatureForm,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
enum NanForm {
    /// There was none in training; it passes no border.
    #[default]
    #[serde(rename = "AsIs")]
    Unseen,
    #[serde(rename = "AsFalse")]
    Least,
    #[serde(rename = "AsTrue")]
    Greatest,
}

#[derive(Deserialize)]
struct FeatureForm {
    flat_feature_index: u32,
    #[serde(default)]
    feature_id: String,
}

/// An input that splits name by the index of its float feature.
#[derive(Clone, Copy, Debug)]
struct FloatInput {
    input: u32,
    missing_is_greatest: bool,
}

pub fn read(content: &[u8]) -> Result<TreeModel, Error> {
    let form: ModelForm = json::read(FORMAT, content)?;
    let n_inputs = form.features_info.n_inputs()?;
    let input_names = form.features_info.names(n_inputs)?;
    let (scale, bias) = match form.scale_and_bias {
        Some((scale, BiasForm::One(bias))) => (scale, vec![bias]),
        Some((scale, BiasForm::ByOutput(bias))) => (scale, bias),
        None => (1.0, vec![0.0]),
    };
    let reader = Reader { features: &form.features_info, floats: form.features_info.floats()?, scale };
    let (mut trees, n_outputs) = match (form.oblivious_trees, form.trees) {
        (Some(trees), None) => reader.oblivious(&trees)?,
        (None, Some(trees)) => reader.binary(&trees)?,
        _ => return Err(malformed("the file", "not one list of trees, oblivious_trees or trees")),
    };
    // Without a tree, the bias alone says how many outputs there are.
    let n_outputs = n_outputs.unwrap_or(bias.len());
    // Old versions had no other than 0 for several outputs.
    if bias.len() != n_outputs && bias != [0.0] {
        let reason = format!("{} biases for {n_outputs} outputs", bias.len());
        return Err(malformed("scale_and_bias", reason));
    }
    trees.extend(super::added_last(&bias));
    let base = vec![0.0; n_outputs];
    let objective = objective::name(&form.model_info)?;
    let link = objective::link(&objective, n_outputs)?;
    let arithmetic = Arithmetic { inputs: Precision::Single, ..Arithmetic::default() };
    let forest = Forest::new(Frame { n_inputs, base, arithmetic }, trees)
        .map_err(|source| Error::Forest { format: FORMAT, source })?;
    Ok(TreeModel { format: FORMAT, objective, forest, link, input_names })
}

impl FeaturesForm {
    fn all(&self) -> impl Iterator<Item = &FeatureForm> {
        let others = [&self.categorical_features, &self.text_features, &self.embedding_features];
        self.float_features.iter().map(|float| &float.feature).chain(others.into_iter().flatten())
    }

    /// Inputs are the columns of the training data, used or not.
    fn n_inputs(&self) -> Result<usize, Error> {
        let n_inputs = self.all().map(|feature| feature.flat_feature_index as usize + 1).max().unwrap_or(0);
        if n_inputs > Forest::MAX_INPUTS {
            let reason = format!("{n_inputs} inputs, of at most {}", Forest::MAX_INPUTS);
            return Err(malformed("features_info", reason));
        }
        Ok(n_inputs)
    }

    /// None unless every input has a name.
    fn names(&self, n_inputs: usize) -> Result<Option<Vec<String>>, Error> {
        let mut names = vec![None; n_inputs];
        for feature in self.all() {
            let input = feature.flat_feature_index;
            if names[input as usize].replace(feature.feature_id.clone()).is_some() {
                return Err(malformed(
                    "features_info",
                    format!("two features of flat_feature_index {input}"),
                ));
            }
        }
        Ok(names.into_iter().map(|name| name.filter(|name| !name.is_empty())).collect())
    }

    fn floats(&self) -> Result<Vec<FloatInput>, Error> {
        self.float_features
            .iter()
            .enumerate()
            .map(|(index, float)| match float.feature_index as usize == index {
                true => Ok(FloatInput {
                    input: float.feature.flat_feature_index,
                    missing_is_greatest: float.nan_value_treatment == NanForm::Greatest,
                }),
                false => {
                    let at = format!("features_info.float_features[{index}]");
                    Err(malformed(at, format!("its feature_index is {}", float.feature_index)))
                }
            })
            .collect()
    }
}

fn malformed(at: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::malformed(FORMAT, at, reason)
}
