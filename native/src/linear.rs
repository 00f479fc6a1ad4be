//! The custom operator `kvault:Int4Linear`: products of few rows with 4-bit weights.
//!
//! Inputs: `x` f16 `[.., K]`; `quant` u8 `[N, K/128, 64]` and `scale` f16 `[N, K/128]`, as `MatMulNBits` has them with
//! blocks of 128 and no zero points. Output: f16 `[.., N]`. ONNX Runtime's own operator expands all weights to f16 as soon
//! as there are two rows, which costs more than the product.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex};

use cudarc::driver::{result, sys};
use ort::operator::{BoxedKernel, ComputeContext, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::{DynTensorValueType, TensorElementType};

use crate::attention::{given, Failure};
use crate::kernels::{Kernels, LINEAR_ROWS, LINEAR_THREADS};
use crate::memory::Memory;
use crate::runtime::Device;

#[repr(C)]
struct LinearArguments {
    x: u64,
    weight: u64,
    scale: u64,
    y: u64,
    partial: u64,
    arrived: u64,
    m: i32,
    n: i32,
    k: i32,
    splits: i32,
}

/** Sums of splits and counts of finished ones, by their sizes; kept for captured graphs. */
struct Sums {
    device: Arc<Device>,
    sets: Mutex<HashMap<(usize, usize), [Arc<Memory>; 2]>>,
}

impl Sums {
    fn get(&self, partial: usize, arrived: usize) -> napi::Result<[Arc<Memory>; 2]> {
        let mut sets = self.sets.lock().unwrap();
        if let Some(set) = sets.get(&(partial, arrived)) {
            return Ok(set.clone());
        }
        let set = [Memory::allocate(&self.device, partial)?, Memory::zeroed(&self.device, arrived)?];
        sets.insert((partial, arrived), set.clone());
        Ok(set)
    }
}

pub struct Int4Linear {
    kernels: Arc<Kernels>,
    sums: Arc<Sums>,
}

impl Int4Linear {
    pub fn new(device: &Arc<Device>, kernels: &Arc<Kernels>) -> Self {
        Self { kernels: kernels.clone(), sums: Arc::new(Sums { device: device.clone(), sets: Mutex::new(HashMap::new()) }) }
    }
}

impl Operator for Int4Linear {
    type Kernel<'attr> = BoxedKernel<'attr>;

    fn name(&self) -> &str {
        "Int4Linear"
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some("CUDAExecutionProvider")
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [TensorElementType::Float16, TensorElementType::Uint8, TensorElementType::Float16].map(OperatorInput::required)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float16)]
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> ort::Result<BoxedKernel<'attr>> {
        let (kernels, sums) = (self.kernels.clone(), self.sums.clone());
        Ok(Box::new(move |context: &ComputeContext| {
            multiply(context, &kernels, &sums).map_err(|error| ort::Error::new(error.to_string()))
        }))
    }
}

fn multiply(context: &ComputeContext, kernels: &Kernels, sums: &Sums) -> Result<(), Failure> {
    let (x, quant, scale) = (given(context, 0)?, given(context, 1)?, given(context, 2)?);
    let [n, blocks, 64] = quant.dims[..] else { return Err("quant must be [N, K/128, 64]".into()) };
    let k = blocks * 128;
    if n % LINEAR_ROWS as i64 != 0 || x.dims.last() != Some(&k) || scale.dims.iter().product::<i64>() != n * blocks {
        return Err("x, quant and scale do not fit, or N is no multiple of 128".into());
    }
    let m = x.dims.iter().product::<i64>() / k;
    let mut out_dims = x.dims.clone();
    *out_dims.last_mut().expect("a dimension") = n;
    let output = context.output(0, out_dims)?.ok_or("no output")?;
    let linear = kernels.linear(m as i32)?;
    let (columns, row_blocks) = (n as i32 / LINEAR_ROWS, (m as u32).div_ceil(linear.tiles as u32 * 16) as i32);
    // three blocks of a multiprocessor, as long as each has some columns to work on
    let splits = ((3 * kernels.multiprocessors) as u32).div_ceil((columns * row_blocks) as u32) as i32;
    let splits = splits.clamp(1, (blocks as i32 / 4).max(1));
    let partial_bytes = if splits > 1 { splits as usize * (m * n) as usize * 4 } else { 16 };
    let [partial, arrived] = sums.get(partial_bytes, (columns * row_blocks) as usize * 4)?;
    let mut arguments = LinearArguments {
        x: x.address,
        weight: quant.address,
        scale: scale.address,
        y: output.downcast::<DynTensorValueType>()?.data_ptr() as u64,
        partial: partial.address,
        arrived: arrived.address,
        m: m as i32,
        n: n as i32,
        k: k as i32,
        splits,
    };
    let stream = context.stream()?.map_or(std::ptr::null_mut(), |stream| stream.as_ptr()) as sys::CUstream;
    // SAFETY: arguments are laid out as the kernel declares them and copied by the launch; sizes were checked above.
    unsafe {
        result::launch_kernel(
            linear.function,
            (columns as u32, splits as u32, row_blocks as u32),
            (LINEAR_THREADS, 1, 1),
            linear.shared_bytes,
            stream,
            &mut [&mut arguments as *mut _ as *mut c_void],
        )?;
    }
    Ok(())
}
