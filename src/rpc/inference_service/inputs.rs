//! From the tensors of a request to rows to score, or to the users whose
//! features the server knows.

use std::collections::HashMap;

use super::tensor::{Contents, Datatype, Elements, NO_CONTENTS};
use super::{parameters, shown};
use crate::engine::event::UserId;
use crate::engine::model::Model;
use crate::proto::inference::ModelInferRequest;
use crate::proto::inference::model_infer_request::InferInputTensor;
use crate::rpc::convert::Intake;
use crate::rpc::error::Refusal;
use crate::rpc::reason::Reason;

/// The tensor that holds every feature, `[n_rows, n_features]`.
pub const MATRIX: &str = "input";
/// The tensor that names users, `[n_rows]`.
pub const USERS: &str = "user_id";

/// What a request gives to score.
#[derive(Debug, PartialEq)]
pub enum Inputs {
    /// Values by row, shape `[n_rows, n_features]`; NaN is missing.
    Rows {
        n_rows: usize,
        values: Vec<f64>,
    },
    Users(Vec<UserId>),
}

/// What bounds the inputs of a request, and what they are checked by.
#[derive(Clone, Copy)]
pub struct Bounds<'a> {
    pub max_rows: usize,
    pub intake: &'a Intake,
}

/// A tensor with where its elements are; nothing else is checked yet.
struct Input<'r> {
    tensor: &'r InferInputTensor,
    contents: Contents<'r>,
}

/// Reads the inputs of a request to `model`.
pub fn read(request: &ModelInferRequest, model: &Model, bounds: Bounds<'_>) -> Result<Inputs, Refusal> {
    let inputs = with_contents(request)?;
    match inputs.as_slice() {
        [] => {
            let message = format_args!("none is given: `{MATRIX}`, `{USERS}`, or a tensor a feature");
            Err(Refusal::of_field(Reason::TensorUnknown, "inputs", message))
        }
        [input] if input.tensor.name == MATRIX => {
            input.matrix(model.inputs.len(), bounds).map_err(|refusal| input.blame(refusal))
        }
        [input] if input.tensor.name == USERS => input.users(bounds).map_err(|refusal| input.blame(refusal)),
        several => match several.iter().find(|input| [MATRIX, USERS].contains(&&*input.tensor.name)) {
            Some(whole) => {
                let message = "it stands for all features of a row: no other input goes with it";
                Err(whole.blame(Refusal::new(Reason::TensorsMixed, message)))
            }
            None => features(several, model, bounds),
        },
    }
}

/// The inputs with their elements: all of them raw, or none.
fn with_contents(request: &ModelInferRequest) -> Result<Vec<Input<'_>>, Refusal> {
    let raw = &request.raw_input_contents;
    if !raw.is_empty() && raw.len() != request.inputs.len() {
        let message = format_args!("{} for {} inputs", raw.len(), request.inputs.len());
        return Err(Refusal::of_field(Reason::TensorContents, "raw_input_contents", message));
    }
    let mut inputs = Vec::with_capacity(request.inputs.len());
    for (index, tensor) in request.inputs.iter().enumerate() {
        let contents = match raw.get(index) {
            Some(raw) => Contents::Raw(raw),
            None => Contents::Typed(tensor.contents.as_ref().unwrap_or(&NO_CONTENTS)),
        };
        let input = Input { tensor, contents };
        parameters::check_tensor(&tensor.parameters).map_err(|refusal| input.blame(refusal))?;
        if !raw.is_empty() && tensor.contents.as_ref().is_some_and(|typed| *typed != NO_CONTENTS) {
            let message = "its contents are typed, and others are raw: send all of them in one way";
            return Err(input.blame(Refusal::new(Reason::TensorsMixed, message)));
        }
        inputs.push(input);
    }
    Ok(inputs)
}

/// Rows of which every feature has a tensor of its own.
fn features(inputs: &[Input<'_>], model: &Model, bounds: Bounds<'_>) -> Result<Inputs, Refusal> {
    let n_features = model.input_names.len();
    let columns: HashMap<&str, usize> =
        model.input_names.iter().enumerate().map(|(column, name)| (&**name, column)).collect();
    let mut is_given = vec![false; n_features];
    let mut columns_of = Vec::with_capacity(inputs.len());
    for input in inputs {
        let unknown = |message| input.blame(Refusal::new(Reason::TensorUnknown, message));
        let Some(&column) = columns.get(&*input.tensor.name) else {
            return Err(unknown(format!(
                "the model has no such input: `{MATRIX}`, `{USERS}`, or its features by name"
            )));
        };
        if std::mem::replace(&mut is_given[column], true) {
            return Err(unknown("it is given twice".to_owned()));
        }
        columns_of.push(column);
    }
    if let Some(left_out) = is_given.iter().position(|given| !given) {
        let field = format_args!("inputs[{:?}]", shown(&model.input_names[left_out]));
        let message = "the model reads this feature, and no tensor has it: where it is missing, give NaN";
        return Err(Refusal::of_field(Reason::TensorUnknown, field, message));
    }
    // Only a request with all of them gets room for the matrix.
    let mut rows: Option<(usize, Vec<f64>)> = None;
    for (input, column) in inputs.iter().zip(columns_of) {
        let column_values = input.column(bounds).map_err(|refusal| input.blame(refusal))?;
        let n_rows = column_values.len();
        let (expected, values) = rows.get_or_insert_with(|| (n_rows, vec![f64::NAN; n_rows * n_features]));
        if n_rows != *expected {
            let message = format_args!("{n_rows} rows, but the first input has {expected}");
            return Err(input.blame(Refusal::new(Reason::TensorShape, message)));
        }
        for (row, value) in column_values.into_iter().enumerate() {
            values[row * n_features + column] = value;
        }
    }
    let (n_rows, values) = rows.unwrap_or_default();
    Ok(Inputs::Rows { n_rows, values })
}

impl<'r> Input<'r> {
    /// The refusal with this tensor at fault.
    fn blame(&self, refusal: Refusal) -> Refusal {
        refusal.within(format_args!("inputs[{:?}]", shown(&self.tensor.name)))
    }

    fn matrix(&self, n_features: usize, bounds: Bounds<'_>) -> Result<Inputs, Refusal> {
        let [n_rows, width] = self.tensor.shape[..] else {
            return Err(self.wrong_shape(&format!("[n, {n_features}]")));
        };
        if width != n_features as i64 {
            return Err(self.wrong_shape(&format!("[n, {n_features}]: the model has {n_features} features")));
        }
        let n_rows = checked_rows(n_rows, bounds.max_rows)?;
        let n_elements = n_rows.saturating_mul(n_features);
        Ok(Inputs::Rows { n_rows, values: self.elements(n_elements)?.numbers()? })
    }

    fn users(&self, bounds: Bounds<'_>) -> Result<Inputs, Refusal> {
        let elements = self.elements(self.rows_of_one(bounds.max_rows)?)?;
        let user = |(index, id): (usize, &str)| {
            bounds.intake.known_user(id).map_err(|refusal| refusal.at(&format!("contents[{index}]")))
        };
        elements.texts()?.into_iter().enumerate().map(user).collect::<Result<_, _>>().map(Inputs::Users)
    }

    fn column(&self, bounds: Bounds<'_>) -> Result<Vec<f64>, Refusal> {
        self.elements(self.rows_of_one(bounds.max_rows)?)?.numbers()
    }

    /// The rows of a tensor with one element a row.
    fn rows_of_one(&self, max_rows: usize) -> Result<usize, Refusal> {
        match self.tensor.shape[..] {
            [n_rows] | [n_rows, 1] => checked_rows(n_rows, max_rows),
            _ => Err(self.wrong_shape("[n] or [n, 1]")),
        }
    }

    fn elements(&self, n_elements: usize) -> Result<Elements<'r>, Refusal> {
        let Some(datatype) = Datatype::of_name(&self.tensor.datatype) else {
            let known = Datatype::ALL.map(Datatype::name).join(", ");
            let message = format_args!("{:?} is none of {known}", shown(&self.tensor.datatype));
            return Err(Refusal::new(Reason::TensorDatatype, message));
        };
        Ok(Elements { datatype, n_elements, contents: self.contents })
    }

    fn wrong_shape(&self, expected: &str) -> Refusal {
        // No model has a tensor of so many dimensions that the rest would tell more.
        let first = &self.tensor.shape[..self.tensor.shape.len().min(8)];
        let n_dims = self.tensor.shape.len();
        let message = format_args!("{first:?} of {n_dims} dimensions is not {expected}");
        Refusal::new(Reason::TensorShape, message)
    }
}

fn checked_rows(n_rows: i64, max_rows: usize) -> Result<usize, Refusal> {
    match usize::try_from(n_rows) {
        Err(_) => Err(Refusal::new(Reason::TensorShape, format_args!("{n_rows} rows"))),
        Ok(n_rows) if n_rows > max_rows => {
            let message = format_args!("{n_rows} rows, at most {max_rows} are permitted");
            Err(Refusal::new(Reason::BatchTooLarge, message))
        }
        Ok(n_rows) => Ok(n_rows),
    }
}
