//! What a model was trained for, and what XGBoost makes of its margins.

use crate::engine::link::Link;
use crate::model_file::{Error, Format};

pub fn link(format: Format, name: &str, n_outputs: usize) -> Result<Link, Error> {
    let link = match name {
        "binary:logistic" | "reg:logistic" => Link::Logistic,
        "binary:hinge" => Link::Step,
        "multi:softprob" | "multi:softmax" => Link::Softmax,
        "count:poisson" | "reg:gamma" | "reg:tweedie" | "survival:cox" | "survival:aft" => Link::Exp,
        "binary:logitraw"
        | "reg:squarederror"
        | "reg:linear"
        | "reg:squaredlogerror"
        | "reg:absoluteerror"
        | "reg:pseudohubererror"
        | "reg:quantileerror"
        | "reg:expectileerror"
        | "rank:pairwise"
        | "rank:ndcg"
        | "rank:map" => Link::Identity,
        _ => {
            let shown = &name[..name.floor_char_boundary(60)];
            return Err(Error::unsupported(format, format!("the objective {shown:?}")));
        }
    };
    if link == Link::Softmax && n_outputs < 2 {
        let reason = format!("{n_outputs} classes, of the objective {name}");
        return Err(Error::malformed(format, "learner.learner_model_param.num_class", reason));
    }
    Ok(link)
}

/// The base score, which is in the unit of outputs, as a margin.
pub fn margin(name: &str, score: f32) -> f32 {
    match name {
        "binary:logistic" | "reg:logistic" => -(1.0 / score - 1.0).ln(),
        "count:poisson" | "reg:gamma" | "reg:tweedie" | "survival:cox" | "survival:aft" => score.ln(),
        _ => score,
    }
}
