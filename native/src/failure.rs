//! Errors on their way to JavaScript: `CODE: what could not be done: what was found`.

use cudarc::driver::DriverError;
use napi::{Error, Status};

/** The device or a library of it is not there; nothing in this process can change that. */
pub const UNAVAILABLE: &str = "UNAVAILABLE";
/** The device ran out of memory; something must be freed first. */
pub const OUT_OF_MEMORY: &str = "OUT_OF_MEMORY";
/** An argument does not fit what was opened. */
pub const INVALID: &str = "INVALID";
/** The device or the graph failed; the process should be replaced. */
pub const FAILED: &str = "FAILED";

pub fn failure(code: &str, what: impl std::fmt::Display) -> Error {
    Error::new(Status::GenericFailure, format!("{code}: {what}"))
}

/** A driver's error while doing `what`. */
pub fn driver(what: &'static str) -> impl Fn(DriverError) -> Error {
    move |error| {
        let code = if error.0 == cudarc::driver::sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY { OUT_OF_MEMORY } else { FAILED };
        failure(code, format!("Cannot {what}: {error}"))
    }
}

/** ONNX Runtime's error while doing `what`. */
pub fn onnx<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Error {
    move |error| failure(FAILED, format!("Cannot {what}: {error}"))
}
