//! What a model was trained for, and what LightGBM makes of its raw outputs.

use super::text::{Fields, Number, shown};
use super::{FORMAT, malformed};
use crate::engine::link::Link;
use crate::model_file::Error;

const MAX_TEXT: usize = 256;

/// A line such as `binary sigmoid:1`.
pub struct Objective {
    /// Empty if a model has none, as those of custom objectives do.
    pub text: String,
    link: Link,
}

impl Objective {
    pub fn of(header: &Fields<'_>, n_outputs: usize) -> Result<Self, Error> {
        let text = header.get("objective").map_or("", |field| field.value);
        if text.len() > MAX_TEXT {
            return Err(malformed("objective", format!("{} bytes, of at most {MAX_TEXT}", text.len())));
        }
        let mut parts = text.split_ascii_whitespace();
        let name = parts.next().unwrap_or_default();
        let mut has_sqrt = false;
        let (mut sigmoid, mut n_classes) = (1.0, None);
        for part in parts {
            let wrong = || malformed("objective", format!("{:?}", shown(part)));
            match part.split_once(':') {
                None if part == "sqrt" => has_sqrt = true,
                Some(("sigmoid", scale)) => {
                    sigmoid = f64::of(scale).filter(|scale| *scale > 0.0).ok_or_else(wrong)?;
                }
                Some(("num_class", n)) => n_classes = Some(usize::of(n).ok_or_else(wrong)?),
                // Others are of training only.
                _ => {}
            }
        }
        let is_multiclass = matches!(name, "multiclass" | "multiclassova");
        let expected = if is_multiclass { n_classes } else { Some(1) };
        if !name.is_empty() && expected != Some(n_outputs) {
            let reason = format!("{:?} of {n_outputs} trees in each iteration", shown(text));
            return Err(malformed("objective", reason));
        }
        let link = match name {
            "binary" | "multiclassova" if sigmoid == 1.0 => Link::Logistic,
            "binary" | "multiclassova" => Link::ScaledLogistic { scale: sigmoid },
            "cross_entropy" => Link::Logistic,
            "cross_entropy_lambda" => Link::Softplus,
            "multiclass" => Link::Softmax,
            "poisson" | "gamma" | "tweedie" => Link::Exp,
            "regression" | "regression_l1" | "huber" | "fair" | "quantile" | "mape" if has_sqrt => {
                Link::SignedSquare
            }
            "" | "regression" | "regression_l1" | "huber" | "fair" | "quantile" | "mape" | "lambdarank"
            | "rank_xendcg" => Link::Identity,
            _ => return Err(Error::unsupported(FORMAT, format!("the objective {:?}", shown(name)))),
        };
        Ok(Self { text: text.to_owned(), link })
    }

    /// From raw outputs, or, if these are sums of so many iterations, from their means.
    pub fn link(&self, averaged: Option<usize>) -> Result<Link, Error> {
        let Some(n) = averaged else { return Ok(self.link) };
        let scale = 1.0 / n as f64;
        Ok(match self.link {
            Link::Identity => Link::Scaled { scale },
            Link::Logistic => Link::ScaledLogistic { scale },
            Link::ScaledLogistic { scale: sigmoid } => Link::ScaledLogistic { scale: sigmoid * scale },
            Link::Softmax => Link::ScaledSoftmax { scale },
            Link::Exp => Link::ScaledExp { scale },
            _ => {
                let what = format!("a random forest of the objective {:?}", self.text);
                return Err(Error::unsupported(FORMAT, what));
            }
        })
    }
}
