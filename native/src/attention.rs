//! The custom operator `kvault:RaggedAttention`: rotation, attention over the shared context and the own suffix, and
//! appending to the suffix, for the new tokens of a batch in one layer.
//!
//! Inputs, all on the device: `qkv` f16 `[B, T, (HQ + 2·H)·D]`; i32 `position` `[B, T]`, `slot` `[B]`, `length` `[B]`
//! (tokens of each suffix before this step), `items` `[L, I, 8]`, `range` `[L, B, H, 2]`; f32 `cosine`, `sine`
//! `[P, D/2]`; as bytes the rows of keys and values of all layers and contexts, and f16 scales and zeros of keys and
//! values (one byte each where rows are f16); f16 `suffixKey`, `suffixValue` `[L, slots, H, capacity, D]`, which are
//! written. Output: f16 `[B, T, HQ·D]`. Attributes: `layer`, `num_heads`, `kv_num_heads`, `key_bits`, `value_bits`,
//! `key_tokens` (scales of keys run along tokens), `interleaved`.
//!
//! Items name rows of the whole buffer, so contexts come and go without a new binding, and a captured CUDA graph
//! stays valid. An item of no query rows does nothing: `I` is a capacity.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex};

use cudarc::driver::{result, sys};
use ort::operator::{BoxedKernel, ComputeContext, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput};
use ort::value::{DynTensorValueType, TensorElementType};

use crate::kernels::{Kernels, ITEM, MERGE_ROWS, MERGE_THREADS};
use crate::linear::Int4Linear;
use crate::memory::Memory;
use crate::runtime::Device;

const DOMAIN: &str = "kvault";

#[repr(C)]
struct RaggedContext {
    key: u64,
    value: u64,
    key_scale: u64,
    key_zero: u64,
    value_scale: u64,
    value_zero: u64,
    items: u64,
}

#[repr(C)]
struct RaggedQueries {
    query: u64,
    stride: i32,
    group: i32,
    scale: f32,
    partial: u64,
    log_sum: u64,
    row_capacity: i32,
}

#[repr(C)]
struct Suffixes {
    key: u64,
    value: u64,
    capacity: i32,
    num_kv_heads: i32,
    slot: u64,
    length: u64,
}

#[repr(C)]
struct MergeArguments {
    query: u64,
    stride: i32,
    group: i32,
    scale: f32,
    tokens: i32,
    item_range: u64,
    items: u64,
    partial: u64,
    log_sum: u64,
    row_capacity: i32,
    out: u64,
    out_stride: i32,
}

#[repr(C)]
struct RopeArguments {
    input: u64,
    stride: i32,
    num_query_heads: i32,
    position: u64,
    cosine: u64,
    sine: u64,
    interleaved: i32,
    tokens: i32,
    query: u64,
}

/** Turned queries, partial outputs and log sums: one set of each size, used by all layers in turn, kept for captured graphs. */
struct Scratch {
    device: Arc<Device>,
    sets: Mutex<HashMap<(usize, usize, usize), [Arc<Memory>; 3]>>,
}

impl Scratch {
    fn get(&self, query: usize, partial: usize, log_sum: usize) -> napi::Result<[Arc<Memory>; 3]> {
        let mut sets = self.sets.lock().unwrap();
        if let Some(set) = sets.get(&(query, partial, log_sum)) {
            return Ok(set.clone());
        }
        let allocate = |bytes| Memory::allocate(&self.device, bytes);
        let set = [allocate(query)?, allocate(partial)?, allocate(log_sum)?];
        sets.insert((query, partial, log_sum), set.clone());
        Ok(set)
    }
}

struct RaggedAttention {
    kernels: Arc<Kernels>,
    scratch: Arc<Scratch>,
}

/** The operators a session needs; their working memory belongs to that session. */
pub fn operators(device: &Arc<Device>, kernels: &Arc<Kernels>) -> ort::Result<OperatorDomain> {
    let scratch = Arc::new(Scratch { device: device.clone(), sets: Mutex::new(HashMap::new()) });
    OperatorDomain::new(DOMAIN)?.add(RaggedAttention { kernels: kernels.clone(), scratch })?.add(Int4Linear::new(device, kernels))
}

struct Attributes {
    layer: i64,
    heads: i64,
    kv_heads: i64,
    key_bits: i64,
    value_bits: i64,
    key_tokens: bool,
    interleaved: bool,
}

impl Attributes {
    fn read(context: &KernelContext<'_>) -> ort::Result<Self> {
        let get = |name: &str| context.get::<i64>(name).ok_or_else(|| ort::Error::new(format!("RaggedAttention needs attribute {name}")));
        Ok(Self {
            layer: get("layer")?,
            heads: get("num_heads")?,
            kv_heads: get("kv_num_heads")?,
            key_bits: get("key_bits")?,
            value_bits: get("value_bits")?,
            key_tokens: get("key_tokens")? != 0,
            interleaved: get("interleaved")? != 0,
        })
    }
}

/** An input's address and shape. */
pub struct Given {
    pub address: u64,
    pub dims: Vec<i64>,
}

pub fn given(context: &ComputeContext, index: usize) -> ort::Result<Given> {
    let value = context.input(index)?.ok_or_else(|| ort::Error::new(format!("RaggedAttention needs input {index}")))?;
    let tensor = value.downcast::<DynTensorValueType>()?;
    Ok(Given { address: tensor.data_ptr() as u64, dims: tensor.shape().to_vec() })
}

impl Operator for RaggedAttention {
    type Kernel<'attr> = BoxedKernel<'attr>;

    fn name(&self) -> &str {
        "RaggedAttention"
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some("CUDAExecutionProvider")
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        use TensorElementType::{Float16, Float32, Int32, Uint8};
        let types = [
            Float16, Int32, Int32, Int32, Int32, Int32, Float32, Float32, Uint8, Uint8, Uint8, Uint8, Uint8, Uint8, Float16, Float16,
        ];
        types.map(OperatorInput::required)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float16)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<BoxedKernel<'attr>> {
        let attributes = Attributes::read(context)?;
        let (kernels, scratch) = (self.kernels.clone(), self.scratch.clone());
        Ok(Box::new(move |context: &ComputeContext| {
            attend(context, &attributes, &kernels, &scratch).map_err(|error| ort::Error::new(error.to_string()))
        }))
    }
}

pub type Failure = Box<dyn std::error::Error>;

fn attend(context: &ComputeContext, a: &Attributes, kernels: &Kernels, scratch: &Scratch) -> Result<(), Failure> {
    let input = |index| given(context, index);
    let qkv = input(0)?;
    let [batch, tokens, width] = qkv.dims[..] else { return Err("qkv must be [B, T, width]".into()) };
    let heads = a.heads + 2 * a.kv_heads;
    let (head_dim, group) = (width / heads, a.heads / a.kv_heads);
    let (position, slot, length, items, range) = (input(1)?, input(2)?, input(3)?, input(4)?, input(5)?);
    let (suffix_key, suffix_value) = (input(14)?, input(15)?);
    let [layers, num_items, 8] = items.dims[..] else { return Err("items must be [L, I, 8]".into()) };
    let [suffix_layers, slots, suffix_heads, capacity, suffix_dim] = suffix_key.dims[..] else { return Err("suffixKey must be [L, slots, H, capacity, D]".into()) };
    if a.layer >= layers || a.layer >= suffix_layers || suffix_heads != a.kv_heads || suffix_dim != head_dim || suffix_value.dims != suffix_key.dims {
        return Err("items and suffixes do not fit the model".into());
    }
    if range.dims[..] != [layers, batch, a.kv_heads, 2] || slot.dims[..] != [batch] || length.dims[..] != [batch] || position.dims[..] != [batch, tokens] {
        return Err("position, slot, length or range does not fit the batch".into());
    }
    let rows = batch * tokens * group;
    let variant = kernels.variant(head_dim as i32, a.key_bits as i32, a.value_bits as i32, a.key_tokens, rows as i32)?;
    let query_width = a.heads * head_dim;
    let output = context.output(0, [batch, tokens, query_width])?.ok_or("no output")?;
    let out = output.downcast::<DynTensorValueType>()?.data_ptr() as u64;
    let part_rows = (num_items * rows) as usize;
    let [query, partial, log_sum] =
        scratch.get((batch * tokens * query_width * 2) as usize, part_rows * head_dim as usize * 2, part_rows * 4)?;
    let stream = context.stream()?.map_or(std::ptr::null_mut(), |stream| stream.as_ptr()) as sys::CUstream;

    let items_at = items.address + (a.layer * num_items) as u64 * ITEM as u64 * 4;
    let suffix_layer = (a.layer * slots * a.kv_heads * capacity * head_dim) as u64 * 2;
    let scale = (std::f64::consts::LOG2_E / (head_dim as f64).sqrt()) as f32;
    let stride = query_width as i32;
    let mut suffixes = Suffixes {
        key: suffix_key.address + suffix_layer,
        value: suffix_value.address + suffix_layer,
        capacity: capacity as i32,
        num_kv_heads: a.kv_heads as i32,
        slot: slot.address,
        length: length.address,
    };
    let mut rope = RopeArguments {
        input: qkv.address,
        stride: width as i32,
        num_query_heads: a.heads as i32,
        position: position.address,
        cosine: input(6)?.address,
        sine: input(7)?.address,
        interleaved: a.interleaved as i32,
        tokens: tokens as i32,
        query: query.address,
    };
    let mut shared = RaggedContext {
        key: input(8)?.address,
        value: input(9)?.address,
        key_scale: input(10)?.address,
        key_zero: input(11)?.address,
        value_scale: input(12)?.address,
        value_zero: input(13)?.address,
        items: items_at,
    };
    let mut queries = RaggedQueries {
        query: query.address,
        stride,
        group: group as i32,
        scale,
        partial: partial.address,
        log_sum: log_sum.address,
        row_capacity: rows as i32,
    };
    let mut merge = MergeArguments {
        query: query.address,
        stride,
        group: group as i32,
        scale,
        tokens: tokens as i32,
        item_range: range.address + (a.layer * batch * a.kv_heads) as u64 * 2 * 4,
        items: items_at,
        partial: partial.address,
        log_sum: log_sum.address,
        row_capacity: rows as i32,
        out,
        out_stride: stride,
    };
    let suffixes_at = &mut suffixes as *mut _ as *mut c_void;
    // SAFETY: arguments are laid out as the kernels declare them and copied by the launch; addresses are of live
    // buffers whose sizes were checked above; what the stream runs is over before ONNX Runtime gives the memory away.
    unsafe {
        result::launch_kernel(
            variant.rope,
            ((batch * tokens) as u32, 1, 1),
            (256, 1, 1),
            0,
            stream,
            &mut [&mut rope as *mut _ as *mut c_void, suffixes_at],
        )?;
        let row_blocks = (rows as u32).div_ceil(variant.block_rows as u32);
        result::launch_kernel(
            variant.part,
            (num_items as u32, row_blocks, 1),
            (variant.threads, 1, 1),
            variant.shared_bytes,
            stream,
            &mut [&mut shared as *mut _ as *mut c_void, &mut queries as *mut _ as *mut c_void],
        )?;
        launch_beside(
            variant.merge,
            (batch as u32, a.kv_heads as u32, ((tokens * group) as u32).div_ceil(MERGE_ROWS as u32)),
            MERGE_THREADS,
            stream,
            &mut [&mut merge as *mut _ as *mut c_void, suffixes_at],
        )?;
    }
    Ok(())
}

/**
Launches `function` so that it may start while the kernel before it still runs; it waits for that one itself.

# Safety
As of `cuLaunchKernel`.
*/
unsafe fn launch_beside(
    function: sys::CUfunction,
    grid: (u32, u32, u32),
    threads: u32,
    stream: sys::CUstream,
    arguments: &mut [*mut c_void],
) -> Result<(), cudarc::driver::DriverError> {
    let mut attribute: sys::CUlaunchAttribute = std::mem::zeroed();
    attribute.id = sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attribute.value.programmaticStreamSerializationAllowed = 1;
    let mut config: sys::CUlaunchConfig = std::mem::zeroed();
    (config.gridDimX, config.gridDimY, config.gridDimZ) = grid;
    (config.blockDimX, config.blockDimY, config.blockDimZ) = (threads, 1, 1);
    config.hStream = stream;
    config.attrs = &mut attribute;
    config.numAttrs = 1;
    sys::cuLaunchKernelEx(&config, function, arguments.as_mut_ptr(), std::ptr::null_mut()).result()
}
