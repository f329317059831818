//! What lleaves compiles of a LightGBM model.
#![expect(unsafe_code, reason = "a C interface")]

use std::path::Path;

use anyhow::Result;
use libloading::Library;

use super::engine::{Engine, Rows};

/// Rows, scores, the first row and the one behind the last.
type Root = unsafe extern "C" fn(*const f64, *mut f64, i32, i32);

pub struct Compiled {
    root: Root,
    /// Last: the function is its.
    _library: Library,
}

impl Compiled {
    pub fn open(library: &Path) -> Result<Self> {
        // SAFETY: the function has this type as lleaves 1.3 compiles it; the library is kept as long.
        unsafe {
            let library = Library::new(library)?;
            Ok(Self { root: *library.get(b"forest_root")?, _library: library })
        }
    }
}

impl Engine for Compiled {
    fn score(&mut self, rows: &Rows, at: usize) -> f64 {
        let mut score = [0.0];
        self.score_batch(rows, at, &mut score);
        score[0]
    }

    fn score_batch(&mut self, rows: &Rows, at: usize, scores: &mut [f64]) {
        let matrix = rows.doubles(at, scores.len());
        // SAFETY: there are as many rows as scores, with as many inputs as the model has.
        unsafe { (self.root)(matrix.as_ptr(), scores.as_mut_ptr(), 0, scores.len() as i32) }
    }
}
