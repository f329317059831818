//! XGBoost's C API, with its prediction in place.
#![expect(unsafe_code, reason = "a C interface")]

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::Path;
use std::{ptr, slice};

use anyhow::{Result, ensure};
use libloading::Library;

use super::engine::{Engine, Rows};

/// Margins of all trees.
const CONFIG: &std::ffi::CStr =
    c"{\"type\": 1, \"training\": false, \"iteration_begin\": 0, \"iteration_end\": 0, \"strict_shape\": false, \"missing\": NaN, \"cache_id\": 0}";

type Create = unsafe extern "C" fn(*const c_void, u64, *mut *mut c_void) -> c_int;
type Load = unsafe extern "C" fn(*mut c_void, *const c_char) -> c_int;
type SetParam = unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char) -> c_int;
type FromDense = unsafe extern "C" fn(
    *mut c_void,
    *const c_char,
    *const c_char,
    *mut c_void,
    *mut *const u64,
    *mut u64,
    *mut *const f32,
) -> c_int;
type Free = unsafe extern "C" fn(*mut c_void) -> c_int;

pub struct Booster {
    booster: *mut c_void,
    from_dense: FromDense,
    free: Free,
    /// Last: the functions are its.
    _library: Library,
}

impl Booster {
    pub fn open(library: &Path, model: &Path) -> Result<Self> {
        let model = CString::new(model.to_string_lossy().as_bytes())?;
        let mut booster = ptr::null_mut();
        // SAFETY: the symbols have these types by XGBoost's c_api.h of the pinned version; the
        // library is kept as long as the functions; the pointers are valid for the call.
        unsafe {
            let library = Library::new(library)?;
            let create: Create = *library.get(b"XGBoosterCreate")?;
            let load: Load = *library.get(b"XGBoosterLoadModel")?;
            let set: SetParam = *library.get(b"XGBoosterSetParam")?;
            let is_open = create(ptr::null(), 0, &raw mut booster) == 0
                && set(booster, c"nthread".as_ptr(), c"1".as_ptr()) == 0
                && load(booster, model.as_ptr()) == 0
                && set(booster, c"nthread".as_ptr(), c"1".as_ptr()) == 0;
            ensure!(is_open, "XGBoost does not load {model:?}");
            Ok(Self {
                booster,
                from_dense: *library.get(b"XGBoosterPredictFromDense")?,
                free: *library.get(b"XGBoosterFree")?,
                _library: library,
            })
        }
    }
}

impl Engine for Booster {
    fn score(&mut self, rows: &Rows, at: usize) -> f64 {
        let mut score = [0.0];
        self.score_batch(rows, at, &mut score);
        score[0]
    }

    fn score_batch(&mut self, rows: &Rows, at: usize, scores: &mut [f64]) {
        let matrix = rows.floats(at, scores.len());
        let (n, n_inputs, at) = (scores.len(), rows.n_inputs, matrix.as_ptr().addr());
        // An array interface, as numpy's; no NUL is in it.
        let array = format!(
            "{{\"data\": [{at}, true], \"shape\": [{n}, {n_inputs}], \"typestr\": \"<f4\", \"version\": 3}}\0"
        );
        let (mut shape, mut n_dimensions, mut margins) = (ptr::null(), 0, ptr::null());
        // SAFETY: the array is what it says; what is given back is XGBoost's until the next call,
        // and as long as its shape, one number a row.
        let margins = unsafe {
            let failed = (self.from_dense)(
                self.booster,
                array.as_ptr().cast(),
                CONFIG.as_ptr(),
                ptr::null_mut(),
                &raw mut shape,
                &raw mut n_dimensions,
                &raw mut margins,
            );
            assert!(failed == 0 && *shape == n as u64, "XGBoost scores no batch");
            slice::from_raw_parts(margins, n)
        };
        for (score, margin) in scores.iter_mut().zip(margins) {
            *score = f64::from(*margin);
        }
    }
}

impl Drop for Booster {
    fn drop(&mut self) {
        // SAFETY: it is ours, and not used again.
        unsafe {
            (self.free)(self.booster);
        }
    }
}
