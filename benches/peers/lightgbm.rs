//! LightGBM's C API.
#![expect(unsafe_code, reason = "a C interface")]

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;

use anyhow::{Result, ensure};
use libloading::Library;

use super::engine::{Engine, Rows};

const DOUBLE: c_int = 1;
const RAW_SCORE: c_int = 1;
const PARAMETERS: &std::ffi::CStr = c"num_threads=1";

type FromFile = unsafe extern "C" fn(*const c_char, *mut c_int, *mut *mut c_void) -> c_int;
type FastInit = unsafe extern "C" fn(
    *mut c_void,
    c_int,
    c_int,
    c_int,
    c_int,
    i32,
    *const c_char,
    *mut *mut c_void,
) -> c_int;
type Fast = unsafe extern "C" fn(*mut c_void, *const c_void, *mut i64, *mut f64) -> c_int;
type ForMat = unsafe extern "C" fn(
    *mut c_void,
    *const c_void,
    c_int,
    i32,
    i32,
    c_int,
    c_int,
    c_int,
    c_int,
    *const c_char,
    *mut i64,
    *mut f64,
) -> c_int;
type Free = unsafe extern "C" fn(*mut c_void) -> c_int;

pub struct Booster {
    booster: *mut c_void,
    /// For `SingleRowFast`, made at the first row.
    config: *mut c_void,
    fast_init: FastInit,
    fast: Fast,
    for_mat: ForMat,
    free: Free,
    free_config: Free,
    /// Last: the functions are its.
    _library: Library,
}

impl Booster {
    pub fn open(library: &Path, model: &Path) -> Result<Self> {
        let model = CString::new(model.to_string_lossy().as_bytes())?;
        let (mut booster, mut n_iterations) = (ptr::null_mut(), 0);
        // SAFETY: the symbols have these types by LightGBM's c_api.h of the pinned version; the
        // library is kept as long as the functions; the pointers are valid for the call.
        unsafe {
            let library = Library::new(library)?;
            let from_file: FromFile = *library.get(b"LGBM_BoosterCreateFromModelfile")?;
            let failed = from_file(model.as_ptr(), &raw mut n_iterations, &raw mut booster);
            ensure!(failed == 0, "LightGBM does not load {model:?}");
            Ok(Self {
                booster,
                config: ptr::null_mut(),
                fast_init: *library.get(b"LGBM_BoosterPredictForMatSingleRowFastInit")?,
                fast: *library.get(b"LGBM_BoosterPredictForMatSingleRowFast")?,
                for_mat: *library.get(b"LGBM_BoosterPredictForMat")?,
                free: *library.get(b"LGBM_BoosterFree")?,
                free_config: *library.get(b"LGBM_FastConfigFree")?,
                _library: library,
            })
        }
    }

    fn configure(&mut self, n_inputs: usize) {
        let (booster, n) = (self.booster, n_inputs as i32);
        // SAFETY: the booster is open; the parameters are a C string that lives on.
        let failed = unsafe {
            (self.fast_init)(booster, RAW_SCORE, 0, -1, DOUBLE, n, PARAMETERS.as_ptr(), &raw mut self.config)
        };
        assert_eq!(failed, 0, "LightGBM has no configuration for single rows");
    }
}

impl Engine for Booster {
    fn score(&mut self, rows: &Rows, at: usize) -> f64 {
        if self.config.is_null() {
            self.configure(rows.n_inputs);
        }
        let (mut n, mut score) = (0, 0.0);
        let row = rows.doubles(at, 1);
        // SAFETY: the configuration is of rows of this length, with one output.
        let failed = unsafe { (self.fast)(self.config, row.as_ptr().cast(), &raw mut n, &raw mut score) };
        debug_assert_eq!((failed, n), (0, 1));
        score
    }

    fn score_batch(&mut self, rows: &Rows, at: usize, scores: &mut [f64]) {
        let n_rows = scores.len();
        let matrix = rows.doubles(at, n_rows);
        let mut n = 0;
        // SAFETY: the matrix is `n_rows` by `n_inputs`, row by row, and there is room for a score each.
        let failed = unsafe {
            (self.for_mat)(
                self.booster,
                matrix.as_ptr().cast(),
                DOUBLE,
                n_rows as i32,
                rows.n_inputs as i32,
                1,
                RAW_SCORE,
                0,
                -1,
                PARAMETERS.as_ptr(),
                &raw mut n,
                scores.as_mut_ptr(),
            )
        };
        assert_eq!((failed, n), (0, n_rows as i64), "LightGBM scores no batch");
    }
}

impl Drop for Booster {
    fn drop(&mut self) {
        // SAFETY: both are ours, and not used again.
        unsafe {
            if !self.config.is_null() {
                (self.free_config)(self.config);
            }
            (self.free)(self.booster);
        }
    }
}
