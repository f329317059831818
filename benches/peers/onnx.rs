//! ONNX Runtime, with its input and output bound once.
#![expect(unsafe_code, reason = "a C interface")]

use std::path::Path;
use std::ptr;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use ort::AsPointer;
use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{IoBinding, Session};
use ort::value::Tensor;

use super::engine::{Engine, Rows};

static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();

pub struct Prebound {
    session: Session,
    binding: IoBinding,
    /// Shape `[1, n_inputs]`.
    input: Tensor<f32>,
    /// Probabilities of the two classes.
    output: Tensor<f32>,
}

pub fn open_library(library: &Path) -> Result<()> {
    let environment = ort::init_from(library)?.with_telemetry(false).build()?;
    ENVIRONMENT.get_or_init(|| environment);
    Ok(())
}

impl Prebound {
    pub fn open(model: &Path, n_inputs: usize) -> Result<Self> {
        let environment = ENVIRONMENT.get().context("the library is not open")?;
        let session = session(environment, model)?;
        let input = Tensor::<f32>::new(session.allocator(), [1, n_inputs])?;
        let mut output = Tensor::<f32>::new(session.allocator(), [1, 2_usize])?;
        let mut binding = session.create_binding()?;
        binding.bind_input("rows", &input)?;
        binding.bind_output("probabilities", &mut output)?;
        Ok(Self { session, binding, input, output })
    }
}

/// On the thread of whoever calls.
fn session(environment: &Environment, model: &Path) -> ort::Result<Session> {
    let options = Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?;
    options.with_inter_op_spinning(false)?.commit_from_file(model)
}

impl Engine for Prebound {
    fn score(&mut self, rows: &Rows, at: usize) -> f64 {
        self.input.extract_tensor_mut().1.copy_from_slice(rows.floats(at, 1));
        let run = ort::api().RunWithBinding;
        // SAFETY: the session and the binding are open, and no one else runs them.
        let status = unsafe { run(self.session.ptr().cast_mut(), ptr::null(), self.binding.ptr()) };
        assert!(status.0.is_null(), "ONNX Runtime scores no row");
        f64::from(self.output.extract_tensor().1[1])
    }
}
