//! The document, which JSON and UBJSON have in common.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Unexpected, Visitor};

use crate::engine::forest::Forest;

#[derive(Deserialize)]
pub struct ModelForm {
    pub learner: LearnerForm,
}

#[derive(Deserialize)]
pub struct LearnerForm {
    #[serde(default)]
    pub feature_names: List<String, { Forest::MAX_INPUTS }>,
    pub gradient_booster: BoosterForm,
    pub learner_model_param: ParametersForm,
    pub objective: ObjectiveForm,
}

#[derive(Deserialize)]
pub struct ObjectiveForm {
    pub name: String,
}

#[derive(Deserialize)]
pub struct ParametersForm {
    pub base_score: Scores,
    #[serde(default)]
    pub num_class: Count,
    pub num_feature: Count,
    #[serde(default)]
    pub num_target: Count,
}

/// Of trees, of trees with weights, or of something else.
#[derive(Deserialize)]
pub struct BoosterForm {
    pub name: String,
    pub model: Option<BoosterModelForm>,
    /// Of DART.
    pub gbtree: Option<BaseBoosterForm>,
    #[serde(default)]
    pub weight_drop: List<f32, { Forest::MAX_TREES }>,
}

#[derive(Deserialize)]
pub struct BaseBoosterForm {
    pub model: Option<BoosterModelForm>,
}

/// [`TreesForm`], if the booster is of trees.
#[derive(Deserialize)]
pub struct BoosterModelForm {
    gbtree_model_param: Option<TreesParametersForm>,
    tree_info: Option<List<u32, { Forest::MAX_TREES }>>,
    trees: Option<List<TreeForm, { Forest::MAX_TREES }>>,
}

pub struct TreesForm {
    pub gbtree_model_param: TreesParametersForm,
    /// By tree, its output.
    pub tree_info: List<u32, { Forest::MAX_TREES }>,
    pub trees: List<TreeForm, { Forest::MAX_TREES }>,
}

#[derive(Deserialize)]
pub struct TreesParametersForm {
    pub num_trees: Count,
}

/// Lists by node, but for those of categories.
#[derive(Deserialize)]
pub struct TreeForm {
    pub tree_param: TreeParametersForm,
    pub left_children: ByNode<i32>,
    pub right_children: ByNode<i32>,
    pub split_indices: ByNode<u32>,
    /// Thresholds of splits and values of leaves.
    pub split_conditions: ByNode<Number>,
    pub default_left: ByNode<Flag>,
    /// Not written before version 1.3; 1 for a split on categories.
    #[serde(default)]
    pub split_type: ByNode<u8>,
    #[serde(default)]
    pub sum_hessian: ByNode<Number>,
    #[serde(default)]
    pub categories: List<i32, { Forest::MAX_RANGE_ENDS / 2 }>,
    /// The nodes that have categories, where theirs start among them, and how many they are.
    #[serde(default)]
    pub categories_nodes: ByNode<u32>,
    #[serde(default)]
    pub categories_segments: ByNode<u32>,
    #[serde(default)]
    pub categories_sizes: ByNode<u32>,
}

pub type ByNode<T> = List<T, { Forest::MAX_NODES }>;

#[derive(Deserialize)]
pub struct TreeParametersForm {
    pub num_nodes: Count,
    /// Outputs of a leaf; 0 or 1 for one.
    #[serde(default)]
    pub size_leaf_vector: Count,
}

impl BoosterModelForm {
    pub fn of_trees(self) -> Option<TreesForm> {
        let Self { gbtree_model_param, tree_info, trees } = self;
        let (gbtree_model_param, tree_info, trees) = (gbtree_model_param?, tree_info?, trees?);
        Some(TreesForm { gbtree_model_param, tree_info, trees })
    }
}

/// A list of at most `MAX` elements.
pub struct List<T, const MAX: usize>(pub Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T, const MAX: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Elements<T, MAX> {
            type Value = List<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element()? {
                    if elements.len() == MAX {
                        return Err(A::Error::custom(format_args!("a list of more than {MAX}")));
                    }
                    elements.push(element);
                }
                Ok(List(elements))
            }
        }

        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

/// A number, which parameters have as a text.
#[derive(Clone, Copy, Default)]
pub struct Count(pub usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MaybeText;

        impl Visitor<'_> for MaybeText {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number from 0, maybe as a text")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Count, E> {
                text.parse().map(Count).map_err(|_| invalid(text, &self))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Count, E> {
                let wrong = |_| E::invalid_value(Unexpected::Unsigned(number), &self);
                usize::try_from(number).map(Count).map_err(wrong)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Count, E> {
                let wrong = |_| E::invalid_value(Unexpected::Signed(number), &self);
                usize::try_from(number).map(Count).map_err(wrong)
            }
        }

        deserializer.deserialize_any(MaybeText)
    }
}

/// `base_score`: a number, or several, one by output; mostly as a text.
pub struct Scores(pub Vec<f32>);

impl<'de> Deserialize<'de> for Scores {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Numbers;

        impl<'de> Visitor<'de> for Numbers {
            type Value = Scores;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a list of numbers, maybe as a text")
            }

            fn visit_f32<E>(self, number: f32) -> Result<Scores, E> {
                Ok(Scores(vec![number]))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Scores, E> {
                Ok(Scores(vec![number as f32]))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Scores, E> {
                Ok(Scores(vec![number as f32]))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Scores, E> {
                Ok(Scores(vec![number as f32]))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Scores, E> {
                let list = text.strip_prefix('[').and_then(|list| list.strip_suffix(']')).unwrap_or(text);
                let numbers = list.split(',').take(Forest::MAX_OUTPUTS + 1);
                let numbers: Result<Vec<f32>, _> =
                    numbers.map(|number| f32::from_str(number.trim())).collect();
                numbers.map(Scores).map_err(|_| invalid(text, &self))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Scores, A::Error> {
                let list = serde::de::value::SeqAccessDeserializer::new(list);
                List::<f32, { Forest::MAX_OUTPUTS }>::deserialize(list).map(|numbers| Scores(numbers.0))
            }
        }

        deserializer.deserialize_any(Numbers)
    }
}

/// A number, or [`NAN`].
#[derive(Clone, Copy)]
pub struct Number(pub f32);

/// What stands for NaN in JSON, which has none; as long as XGBoost's own `NaN`.
pub const NAN: &[u8; 3] = b"\"\" ";

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FloatOrNan;

        impl Visitor<'_> for FloatOrNan {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_f32<E>(self, number: f32) -> Result<Number, E> {
                Ok(Number(number))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Number, E> {
                Ok(Number(number as f32))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Number, E> {
                Ok(Number(number as f32))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
                Ok(Number(number as f32))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
                if text.is_empty() { Ok(Number(f32::NAN)) } else { Err(invalid(text, &self)) }
            }
        }

        deserializer.deserialize_any(FloatOrNan)
    }
}

/// Yes or no: versions before 1.6 write booleans, others numbers.
#[derive(Clone, Copy)]
pub struct Flag(pub bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct YesOrNo;

        impl Visitor<'_> for YesOrNo {
            type Value = Flag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("0, 1 or a boolean")
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Flag, E> {
                Ok(Flag(flag))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Flag, E> {
                match number {
                    0 | 1 => Ok(Flag(number == 1)),
                    _ => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
                }
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Flag, E> {
                match number {
                    0 | 1 => Ok(Flag(number == 1)),
                    _ => Err(E::invalid_value(Unexpected::Signed(number), &self)),
                }
            }
        }

        deserializer.deserialize_any(YesOrNo)
    }
}

/// A text may be of any length, a message is not.
fn invalid<E: Error>(text: &str, expected: &dyn serde::de::Expected) -> E {
    E::invalid_value(Unexpected::Str(&text[..text.floor_char_boundary(60)]), expected)
}
