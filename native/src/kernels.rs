//! The kernels of kernels/, compiled by NVRTC for the device it runs on, one variant at a time when first needed.

use std::collections::HashMap;
use std::ffi::{c_void, CString};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Mutex};

use cudarc::driver::{result, sys};
use cudarc::nvrtc::{compile_ptx_with_opts, CompileOptions};
use napi::Result;

use crate::failure::{driver, failure, FAILED, INVALID, UNAVAILABLE};
use crate::runtime::Device;

const SOURCE: &str = concat!(include_str!("../kernels/ragged_attention.cu"), include_str!("../kernels/int4_linear.cu"));
/** As the kernels have it: rows of context in a tile, query rows and threads of a merging block, ints of an item. */
const TILE: i32 = 64;
pub const MERGE_ROWS: i32 = 1;
pub const MERGE_THREADS: u32 = 128;
pub const ITEM: usize = 8;
/** Of `int4_linear`: stages of x in shared memory, threads of a block, rows of W it takes. */
const LINEAR_STAGES: i32 = 3;
pub const LINEAR_THREADS: u32 = 128;
pub const LINEAR_ROWS: i32 = 128;

/** Functions for one head size, storage and number of query rows. */
pub struct Variant {
    pub part: sys::CUfunction,
    pub merge: sys::CUfunction,
    pub rope: sys::CUfunction,
    pub block_rows: i32,
    pub threads: u32,
    pub shared_bytes: u32,
    /** Blocks of `part` that run on the device at the same time. */
    pub blocks_at_once: i32,
}

// SAFETY: handles of the driver, which may be used from any thread.
unsafe impl Send for Variant {}
unsafe impl Sync for Variant {}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    head_dim: i32,
    key_bits: i32,
    value_bits: i32,
    key_tokens: bool,
    /** Warps along query rows and along context rows, 16-row tiles of a warp, stages, blocks of a multiprocessor. */
    warps: (i32, i32),
    tiles: i32,
    stages: i32,
    blocks: i32,
}

impl Shape {
    /** What was fastest on an H100 (ragged_attention_test.cu bench). */
    fn for_rows(head_dim: i32, key_bits: i32, value_bits: i32, key_tokens: bool, rows: i32) -> Self {
        let coded = key_bits < 16;
        let deep = match key_bits {
            4 => 4,
            8 => 2,
            _ => 3,
        };
        let (warps, tiles, stages, blocks) = match rows {
            ..=16 => ((1, 4), 1, deep, 2),
            17..=32 => ((2, 2), 1, deep, 2),
            33..=64 => ((4, 1), 1, deep, 2),
            65..=128 => ((4, 1), 2, 2, if coded { 1 } else { 2 }),
            _ => ((8, 1), 2, 3, 1),
        };
        Self { head_dim, key_bits, value_bits, key_tokens, warps, tiles, stages, blocks }
    }

    fn block_rows(&self) -> i32 {
        self.warps.0 * self.tiles * 16
    }

    fn threads(&self) -> i32 {
        self.warps.0 * self.warps.1 * 32
    }

    /** `Variant::SHARED_BYTES` of the kernels. */
    fn shared_bytes(&self) -> i32 {
        let (d, coded) = (self.head_dim, self.key_bits < 16);
        let stage = TILE * d * (self.key_bits + self.value_bits) / 8;
        let row_scales = TILE * (d / 64);
        let key_scales = if self.key_tokens { d } else { row_scales };
        let scales = if coded { 2 * (key_scales + row_scales) * 4 } else { 0 };
        let decoded = if coded { 4 * TILE * d * 2 } else { 0 };
        let merge = if self.warps.1 > 1 { self.warps.1 * self.block_rows() * (d + 2) * 4 } else { 0 };
        let queries = if coded && self.tiles == 1 { 0 } else { self.block_rows() * d * 2 };
        queries + merge.max(self.stages * stage + decoded + scales)
    }
}

pub struct Kernels {
    device: Arc<Device>,
    pub architecture: i32,
    pub multiprocessors: i32,
    variants: Mutex<HashMap<Shape, Arc<Variant>>>,
    linears: Mutex<HashMap<i32, Arc<Linear>>>,
}

/** `int4_linear` for `tiles` · 16 rows of x. */
pub struct Linear {
    pub function: sys::CUfunction,
    pub tiles: i32,
    pub shared_bytes: u32,
}

// SAFETY: a handle of the driver, which may be used from any thread.
unsafe impl Send for Linear {}
unsafe impl Sync for Linear {}

impl Kernels {
    pub fn new(device: &Arc<Device>) -> Result<Arc<Self>> {
        use sys::CUdevice_attribute::*;
        let major = device.attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = device.attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        if major < 8 {
            return Err(failure(UNAVAILABLE, format!("Cannot use device: compute capability {major}.{minor}, needed 8.0 or later")));
        }
        Ok(Arc::new(Self {
            device: device.clone(),
            architecture: major * 10 + minor,
            multiprocessors: device.attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            variants: Mutex::new(HashMap::new()),
            linears: Mutex::new(HashMap::new()),
        }))
    }

    pub fn variant(&self, head_dim: i32, key_bits: i32, value_bits: i32, key_tokens: bool, rows: i32) -> Result<Arc<Variant>> {
        let supported = matches!((key_bits, value_bits), (16, 16) | (8, 8) | (4, 4) | (8, 4)) && (head_dim == 64 || head_dim == 128);
        if !supported {
            return Err(failure(INVALID, format!("Cannot attend to keys of {key_bits} and values of {value_bits} bits, {head_dim} channels: not compiled for them")));
        }
        let shape = Shape::for_rows(head_dim, key_bits, value_bits, key_tokens && key_bits < 16, rows);
        let mut variants = self.variants.lock().unwrap();
        if let Some(variant) = variants.get(&shape) {
            return Ok(variant.clone());
        }
        let variant = Arc::new(self.compile(&shape)?);
        variants.insert(shape, variant.clone());
        Ok(variant)
    }

    /** `int4_linear` for `rows` rows of x, which it takes in blocks of at most 64. */
    pub fn linear(&self, rows: i32) -> Result<Arc<Linear>> {
        let tiles = match rows {
            ..=16 => 1,
            17..=32 => 2,
            _ => 4,
        };
        let mut linears = self.linears.lock().unwrap();
        if let Some(linear) = linears.get(&tiles) {
            return Ok(linear.clone());
        }
        let module = self.module(&[("LINEAR_MT", tiles)])?;
        let loading = driver("load kernels");
        let shared_bytes = LINEAR_STAGES * tiles * 16 * 256;
        let name = CString::new("int4_linear").expect("a name without zeros");
        // SAFETY: the module is never unloaded, so its functions stay valid; the size is the one the kernel expects.
        let function = unsafe {
            let function = result::module::get_function(module, name).map_err(&loading)?;
            let shared = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            result::function::set_function_attribute(function, shared, shared_bytes).map_err(&loading)?;
            function
        };
        let linear = Arc::new(Linear { function, tiles, shared_bytes: shared_bytes as u32 });
        linears.insert(tiles, linear.clone());
        Ok(linear)
    }

    /** The kernels compiled with `-DKV_NAME=VALUE` for each definition. */
    fn module(&self, definitions: &[(&str, i32)]) -> Result<sys::CUmodule> {
        // SAFETY: only looks for the library.
        if !unsafe { cudarc::nvrtc::sys::is_culib_present() } {
            return Err(failure(UNAVAILABLE, "Cannot compile kernels: CUDA's run-time compiler (libnvrtc.so) is not on this machine"));
        }
        let mut options = vec!["--std=c++17".to_owned(), format!("--gpu-architecture=compute_{}", self.architecture)];
        options.extend(definitions.iter().map(|(name, value)| format!("-DKV_{name}={value}")));
        let options = CompileOptions { options, ..Default::default() };
        let ptx = catch_unwind(AssertUnwindSafe(|| compile_ptx_with_opts(SOURCE, options)))
            .map_err(|_| failure(UNAVAILABLE, "Cannot compile kernels: libnvrtc.so cannot be used"))?
            .map_err(|error| failure(FAILED, format!("Cannot compile kernels: {error:?}")))?;
        let image = CString::new(ptx.to_src()).map_err(|error| failure(FAILED, error))?;
        self.device.enter()?;
        // SAFETY: an image that ends with a zero; the module is never unloaded.
        unsafe { result::module::load_data(image.as_ptr() as *const c_void) }.map_err(driver("load kernels"))
    }

    fn compile(&self, shape: &Shape) -> Result<Variant> {
        let module = self.module(&[
            ("D", shape.head_dim),
            ("WM", shape.warps.0),
            ("WN", shape.warps.1),
            ("MT", shape.tiles),
            ("STAGES", shape.stages),
            ("E", 0),
            ("KEY_BITS", shape.key_bits),
            ("VALUE_BITS", shape.value_bits),
            ("KEY_TOKENS", shape.key_tokens as i32),
            ("BLOCKS", shape.blocks),
        ])?;
        let loading = driver("load kernels");
        let name = |name: &str| CString::new(name).expect("a name without zeros");
        let (threads, shared_bytes) = (shape.threads(), shape.shared_bytes());
        // SAFETY: the module is never unloaded, so its functions stay valid; sizes are those it was compiled for.
        unsafe {
            let part = result::module::get_function(module, name("ragged_part")).map_err(&loading)?;
            let shared = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            result::function::set_function_attribute(part, shared, shared_bytes).map_err(&loading)?;
            let per_multiprocessor =
                result::occupancy::max_active_block_per_multiprocessor(part, threads, shared_bytes as usize).map_err(&loading)?;
            Ok(Variant {
                part,
                merge: result::module::get_function(module, name("suffix_merge")).map_err(&loading)?,
                rope: result::module::get_function(module, name("rope_append")).map_err(&loading)?,
                block_rows: shape.block_rows(),
                threads: threads as u32,
                shared_bytes: shared_bytes as u32,
                blocks_at_once: per_multiprocessor * self.multiprocessors,
            })
        }
    }
}
