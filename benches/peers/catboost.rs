//! CatBoost's export to C++, behind `catboost.cc`.
#![expect(unsafe_code, reason = "a C interface")]

use std::path::Path;

use anyhow::Result;
use libloading::Library;

use super::engine::{Engine, Rows};

type Score = unsafe extern "C" fn(*const f32, usize) -> f64;

pub struct Exported {
    score: Score,
    /// Last: the function is its.
    _library: Library,
}

impl Exported {
    pub fn open(library: &Path) -> Result<Self> {
        // SAFETY: the function has this type in `catboost.cc`; the library is kept as long.
        unsafe {
            let library = Library::new(library)?;
            Ok(Self { score: *library.get(b"catboost_score")?, _library: library })
        }
    }
}

impl Engine for Exported {
    fn score(&mut self, rows: &Rows, at: usize) -> f64 {
        let row = rows.floats(at, 1);
        // SAFETY: the row is as long as is said.
        unsafe { (self.score)(row.as_ptr(), row.len()) }
    }
}
