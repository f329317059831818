//! One session of the runtime, and the tensors that go into it.

use ort::memory::Allocator;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue, SessionOutputs};
use ort::value::{DynValue, Tensor, TensorElementType};

use super::Error;
use super::binding::{Binding, Element, Input, Scores, Takes};
use super::library::Library;

/// Runs one batch at a time.
pub struct Runner {
    session: Session,
    /// The inputs of one row, in the order of the session.
    row: Vec<SessionInputValue<'static>>,
    /// By the session's inputs: those of the binding.
    order: Vec<usize>,
}

impl Runner {
    /// A session on one thread of whoever calls, which spins nowhere.
    pub fn open(library: &Library, model: &[u8], binding: &Binding) -> Result<Self, Error> {
        let session = Session::builder(library.environment())?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_parallel_execution(false)?
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?
            .commit_from_memory(model)?;
        let place = |name: &str| binding.inputs.iter().position(|input| input.name == name);
        let order: Option<Vec<usize>> = session.inputs().iter().map(|input| place(input.name())).collect();
        let Some(order) = order.filter(|order| order.len() == binding.inputs.len()) else {
            return Err(Error::Inputs { reason: "the runtime has others than the file".to_owned() });
        };
        let mut runner = Self { session, row: Vec::new(), order };
        runner.row = runner.tensors(binding, 1)?;
        Ok(runner)
    }

    /// Scores `n` rows (shape `[n, n_features]`) into `raw` (shape `[n, n_outputs]`).
    pub fn run(
        &mut self,
        binding: &Binding,
        n: usize,
        rows: &[f64],
        features: &[String],
        raw: &mut [f64],
    ) -> Result<(), Error> {
        let mut made;
        let values = if n == 1 {
            &mut self.row
        } else {
            made = self.tensors(binding, n)?;
            &mut made
        };
        for (&input, value) in self.order.iter().zip(values.iter_mut()) {
            let SessionInputValue::Owned(value) = value else { continue };
            fill(&binding.inputs[input], value, rows, binding.n_features, features)?;
        }
        let outputs = self.session.run(&values[..])?;
        match &binding.scores {
            Scores::Columns { output, columns } => {
                let columns = columns.as_deref().unwrap_or_default();
                read(&outputs, output, n, columns, raw, columns.len())
            }
            Scores::Each(names) => {
                let n_outputs = names.len();
                names
                    .iter()
                    .enumerate()
                    .try_for_each(|(place, name)| read(&outputs, name, n, &[0], &mut raw[place..], n_outputs))
            }
        }
    }

    /// How wide the scores of `n` rows of zeros are.
    pub fn probe(&mut self, binding: &Binding, n: usize) -> Result<usize, Error> {
        let values = self.tensors(binding, n)?;
        let outputs = self.session.run(&values[..])?;
        match &binding.scores {
            Scores::Columns { output, .. } => width(shape(&outputs, output)?, output, n),
            Scores::Each(names) => {
                for name in names {
                    let width = width(shape(&outputs, name)?, name, n)?;
                    if width != 1 {
                        return Err(Error::Outputs {
                            reason: format!("{name:?} has {width} columns, not one"),
                        });
                    }
                }
                Ok(names.len())
            }
        }
    }

    fn tensors(&self, binding: &Binding, n: usize) -> Result<Vec<SessionInputValue<'static>>, Error> {
        let inputs = self.order.iter().map(|&input| &binding.inputs[input]);
        inputs.map(|input| Ok(SessionInputValue::Owned(zeros(input, n, binding.n_features)?))).collect()
    }
}

fn zeros(input: &Input, n: usize, n_features: usize) -> Result<DynValue, Error> {
    let shape = match (input.takes, input.rank) {
        (Takes::Row, _) => vec![n, n_features],
        (Takes::Feature(_), 1) => vec![n],
        (Takes::Feature(_), _) => vec![n, 1],
    };
    let allocator = Allocator::default();
    Ok(match input.element {
        Element::Float => {
            let mut tensor = Tensor::<f32>::new(&allocator, shape)?;
            tensor.extract_tensor_mut().1.fill(0.0);
            tensor.into_dyn()
        }
        Element::Double => {
            let mut tensor = Tensor::<f64>::new(&allocator, shape)?;
            tensor.extract_tensor_mut().1.fill(0.0);
            tensor.into_dyn()
        }
        Element::Int64 => {
            let mut tensor = Tensor::<i64>::new(&allocator, shape)?;
            tensor.extract_tensor_mut().1.fill(0);
            tensor.into_dyn()
        }
    })
}

fn fill(
    input: &Input,
    value: &mut DynValue,
    rows: &[f64],
    n_features: usize,
    features: &[String],
) -> Result<(), Error> {
    let (start, step) = match input.takes {
        Takes::Row => (0, 1),
        Takes::Feature(feature) => (feature, n_features),
    };
    let taken = rows.iter().copied().enumerate().skip(start).step_by(step);
    match input.element {
        Element::Float => {
            let places = value.try_extract_tensor_mut::<f32>()?.1;
            places.iter_mut().zip(taken).for_each(|(place, (_, number))| *place = number as f32);
        }
        Element::Double => {
            let places = value.try_extract_tensor_mut::<f64>()?.1;
            places.iter_mut().zip(taken).for_each(|(place, (_, number))| *place = number);
        }
        Element::Int64 => {
            let places = value.try_extract_tensor_mut::<i64>()?.1;
            for (place, (index, number)) in places.iter_mut().zip(taken) {
                *place = whole(number).ok_or_else(|| Error::NotWhole {
                    feature: features[index % n_features].clone(),
                    value: number,
                })?;
            }
        }
    }
    Ok(())
}

/// The number, if it is whole and every whole number up to it is exact; never of NaN.
fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = (1_u64 << 53) as f64;
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

fn shape<'a>(outputs: &'a SessionOutputs<'_>, name: &str) -> Result<&'a [i64], Error> {
    let value = outputs.get(name);
    let shape = value.and_then(|value| value.dtype().tensor_shape());
    shape.map(|shape| &shape[..]).ok_or_else(|| no_tensor(name))
}

fn no_tensor(name: &str) -> Error {
    Error::Outputs { reason: format!("{name:?} is no tensor of real numbers") }
}

/// The columns of `n` rows that have this shape.
fn width(shape: &[i64], name: &str, n: usize) -> Result<usize, Error> {
    match *shape {
        [rows] if rows == n as i64 => Ok(1),
        [rows, columns] if rows == n as i64 => Ok(columns as usize),
        _ => Err(Error::Outputs { reason: format!("{name:?} has the shape {shape:?} for {n} rows") }),
    }
}

/// Takes `columns` of an output to the first places of each row of `raw`, whose rows are `stride` long.
fn read(
    outputs: &SessionOutputs<'_>,
    name: &str,
    n: usize,
    columns: &[usize],
    raw: &mut [f64],
    stride: usize,
) -> Result<(), Error> {
    let value = outputs.get(name).ok_or_else(|| no_tensor(name))?;
    let width = width(shape(outputs, name)?, name, n)?;
    if let Some(column) = columns.iter().find(|&&column| column >= width) {
        return Err(Error::Outputs { reason: format!("{name:?} has no column {column} of {width}") });
    }
    let places = |index: usize| (0..n).map(move |row| (row * width + index, row * stride));
    match value.dtype().tensor_type() {
        Some(TensorElementType::Float32) => {
            let numbers = value.try_extract_tensor::<f32>()?.1;
            for (place, &column) in columns.iter().enumerate() {
                places(column).for_each(|(from, to)| raw[to + place] = f64::from(numbers[from]));
            }
        }
        Some(TensorElementType::Float64) => {
            let numbers = value.try_extract_tensor::<f64>()?.1;
            for (place, &column) in columns.iter().enumerate() {
                places(column).for_each(|(from, to)| raw[to + place] = numbers[from]);
            }
        }
        _ => return Err(no_tensor(name)),
    }
    Ok(())
}
