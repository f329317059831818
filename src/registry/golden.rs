//! `golden.jsonl`: inputs with the outputs that they must give.
//!
//! One line a case: `{"inputs": [1.5, null], "raw": -0.25, "outputs": [0.41]}`,
//! null for a missing input.

use serde::{Deserialize, Serialize};

use super::error::Error;
use crate::engine::model::{Model, Unscored};

pub const FILE: &str = "golden.jsonl";
pub const MAX_CASES: usize = 1_000;
/// Of these, the first so many are explained as well: enough to see that covers fit
/// the trees; of 1,000 deep trees, each takes as long as hundreds of scores.
const MAX_EXPLAINED: usize = 2;

/// How far an output may be from the expected one; for raw values beyond 1, relative.
const TOLERANCE: f64 = 1e-6;

#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    /// By the model's inputs; NaN is missing.
    pub inputs: Vec<f64>,
    /// The first output before link and calibration.
    pub raw: f64,
    pub outputs: Vec<f64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GoldenForm {
    inputs: Vec<Option<f64>>,
    raw: f64,
    outputs: Vec<f64>,
}

impl Golden {
    /// The case that `model` itself gives for `inputs`.
    pub fn of(model: &Model, inputs: Vec<f64>) -> Result<Self, Unscored> {
        let (raw, outputs) = model.score_row(&inputs)?;
        Ok(Self { inputs, raw, outputs })
    }
}

pub fn write(cases: &[Golden]) -> Vec<u8> {
    let mut content = Vec::new();
    for case in cases {
        let form = GoldenForm {
            inputs: case.inputs.iter().map(|input| (!input.is_nan()).then_some(*input)).collect(),
            raw: case.raw,
            outputs: case.outputs.clone(),
        };
        content.extend(serde_json::to_vec(&form).expect("numbers and names always serialise"));
        content.push(b'\n');
    }
    content
}

/// At least one case.
pub fn read(content: &[u8]) -> Result<Vec<Golden>, Error> {
    let lines = content.split(|&byte| byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    let mut cases = Vec::new();
    for (index, line) in lines {
        if cases.len() == MAX_CASES {
            return Err(Error::malformed(FILE, format!("more than {MAX_CASES} cases")));
        }
        let form: GoldenForm = serde_json::from_slice(line)
            .map_err(|error| Error::malformed(FILE, format!("line {}: {error}", index + 1)))?;
        cases.push(Golden {
            inputs: form.inputs.into_iter().map(|input| input.unwrap_or(f64::NAN)).collect(),
            raw: form.raw,
            outputs: form.outputs,
        });
    }
    if cases.is_empty() {
        return Err(Error::malformed(FILE, "no case"));
    }
    Ok(cases)
}

/// Scores every case, and explains the first ones where the model can.
pub fn verify(model: &Model, cases: &[Golden]) -> Result<(), Error> {
    for (index, expected) in cases.iter().enumerate() {
        let case = index + 1;
        if expected.inputs.len() != model.inputs.len() || expected.outputs.len() != model.outputs.len() {
            return Err(Error::GoldenShape {
                case,
                n_inputs: expected.inputs.len(),
                n_outputs: expected.outputs.len(),
            });
        }
        let found = Golden::of(model, expected.inputs.clone())
            .map_err(|unscored| Error::GoldenUnscored { case, unscored })?;
        check_close(case, "raw", expected.raw, found.raw)?;
        for (output, values) in model.outputs.iter().zip(expected.outputs.iter().zip(&found.outputs)) {
            check_close(case, &output.name, *values.0, *values.1)?;
        }
        if index < MAX_EXPLAINED
            && let Some(contributions) = model.scorer.contributions(&expected.inputs, 0)
        {
            check_close(case, "contributions", expected.raw, contributions.iter().sum())?;
        }
    }
    Ok(())
}

fn check_close(case: usize, output: &str, expected: f64, found: f64) -> Result<(), Error> {
    let tolerance = TOLERANCE * expected.abs().max(1.0);
    // Not `>`: NaN is refused as well.
    if (expected - found).abs() <= tolerance {
        return Ok(());
    }
    Err(Error::GoldenMismatch { case, output: output.to_owned(), expected, found })
}
