//! One device of this process: its context, ONNX Runtime's environment, and the compiled kernels.

use std::sync::{Arc, OnceLock};

use cudarc::driver::{result, sys};
use napi::bindgen_prelude::{AsyncTask, BufferSlice};
use napi::{Env, Result};
use napi_derive::napi;
use ort::environment::Environment;

use crate::failure::{driver, failure, UNAVAILABLE};
use crate::kernels::Kernels;
use crate::memory::{DeviceBuffer, Memory};
use crate::session::{LoadSession, SessionOptions};

/** The primary context of one device. */
pub struct Device {
    pub ordinal: i32,
    handle: sys::CUdevice,
    context: sys::CUcontext,
}

// SAFETY: handles of the driver, which may be used from any thread.
unsafe impl Send for Device {}
unsafe impl Sync for Device {}

impl Device {
    fn open(ordinal: i32) -> Result<Arc<Self>> {
        // SAFETY: only looks for the library.
        if !unsafe { sys::is_culib_present() } {
            return Err(failure(UNAVAILABLE, "Cannot open device: the NVIDIA driver's libcuda.so is not on this machine"));
        }
        let unavailable = |error| failure(UNAVAILABLE, format!("Cannot open CUDA device {ordinal}: {error}"));
        result::init().map_err(unavailable)?;
        let handle = result::device::get(ordinal).map_err(unavailable)?;
        // SAFETY: the handle is valid; the primary context lives as long as the process.
        let context = unsafe { result::primary_ctx::retain(handle) }.map_err(unavailable)?;
        Ok(Arc::new(Self { ordinal, handle, context }))
    }

    /** Makes the context current on this thread. */
    pub fn enter(&self) -> Result<()> {
        // SAFETY: retained for the life of the process.
        unsafe { result::ctx::set_current(self.context) }.map_err(driver("enter device"))
    }

    pub fn attribute(&self, attribute: sys::CUdevice_attribute) -> Result<i32> {
        // SAFETY: the handle is valid.
        unsafe { result::device::get_attribute(self.handle, attribute) }.map_err(driver("ask device"))
    }
}

/** ONNX Runtime is loaded once a process: the first path wins, another one is refused. */
fn environment(library: &str) -> Result<&'static Environment> {
    static OPENED: OnceLock<std::result::Result<(String, Environment), String>> = OnceLock::new();
    let opened = OPENED.get_or_init(|| {
        let builder = ort::init_from(library).map_err(|error| error.to_string())?;
        let environment = builder.with_telemetry(false).build().map_err(|error| error.to_string())?;
        Ok((library.to_owned(), environment))
    });
    match opened {
        Ok((path, environment)) if path == library => Ok(environment),
        Ok((path, _)) => Err(failure(UNAVAILABLE, format!("Cannot load {library}: {path} is loaded in this process"))),
        Err(error) => Err(failure(UNAVAILABLE, format!("Cannot load {library}: {error}"))),
    }
}

#[napi(object)]
pub struct RuntimeOptions {
    /** Path of libonnxruntime.so, the CUDA provider's libraries beside it. */
    pub library: String,
    /** @default 0 */
    pub device: Option<i32>,
}

#[napi(object)]
pub struct DeviceDescription {
    pub name: String,
    /** Such as 90. */
    pub architecture: i32,
    pub multiprocessors: i32,
    pub total_bytes: f64,
    pub free_bytes: f64,
}

#[napi]
pub struct CudaRuntime {
    pub(crate) device: Arc<Device>,
    environment: &'static Environment,
    kernels: Arc<Kernels>,
}

#[napi]
impl CudaRuntime {
    #[napi(factory)]
    pub fn open(options: RuntimeOptions) -> Result<Self> {
        let device = Device::open(options.device.unwrap_or(0))?;
        device.enter()?;
        let kernels = Kernels::new(&device)?;
        Ok(Self { environment: environment(&options.library)?, device, kernels })
    }

    #[napi]
    pub fn describe(&self) -> Result<DeviceDescription> {
        self.device.enter()?;
        let (free, total) = result::mem_get_info().map_err(driver("ask device"))?;
        Ok(DeviceDescription {
            name: result::device::get_name(self.device.handle).map_err(driver("ask device"))?,
            architecture: self.kernels.architecture,
            multiprocessors: self.kernels.multiprocessors,
            total_bytes: total as f64,
            free_bytes: free as f64,
        })
    }

    #[napi]
    pub fn allocate(&self, bytes: f64) -> Result<DeviceBuffer> {
        Ok(DeviceBuffer::new(Memory::allocate(&self.device, bytes as usize)?))
    }

    /** Memory of the host that the device copies from and to at the bus' full speed; freed when collected. */
    #[napi]
    pub fn pinned<'env>(&self, env: &'env Env, bytes: f64) -> Result<BufferSlice<'env>> {
        self.device.enter()?;
        let bytes = bytes as usize;
        // SAFETY: freed once, by the finaliser; nothing else refers to it.
        unsafe {
            let address = result::malloc_host(bytes.max(16), 0).map_err(driver("allocate pinned memory"))?;
            BufferSlice::from_external(env, address.cast(), bytes, (self.device.clone(), address as usize), |_, (device, address)| {
                if device.enter().is_ok() {
                    let _ = result::free_host(address as *mut _);
                }
            })
        }
    }

    /** How many items of context `ragged_part` should be cut into for `rows` query rows, so that they fill the device once. */
    #[napi]
    pub fn slots(&self, head_dim: i32, key_bits: i32, value_bits: i32, key_tokens: bool, rows: i32) -> Result<i32> {
        let variant = self.kernels.variant(head_dim, key_bits, value_bits, key_tokens, rows)?;
        Ok((variant.blocks_at_once / ((rows + variant.block_rows - 1) / variant.block_rows)).max(1))
    }

    /** Loads a graph; its external weights lie beside it. */
    #[napi]
    pub fn load_session(&self, path: String, options: Option<SessionOptions>) -> AsyncTask<LoadSession> {
        AsyncTask::new(LoadSession::new(self.environment, &self.device, &self.kernels, path, options.unwrap_or_default()))
    }

    /** Waits for everything the device was told to do. */
    #[napi]
    pub fn synchronize(&self) -> Result<()> {
        self.device.enter()?;
        result::ctx::synchronize().map_err(driver("wait for the device"))
    }
}

/** What of the addon can be used here, without opening anything: undefined, or why not. */
#[napi]
pub fn missing() -> Option<String> {
    // SAFETY: only look for libraries.
    if !unsafe { sys::is_culib_present() } {
        return Some("the NVIDIA driver (libcuda.so)".to_owned());
    }
    if !unsafe { cudarc::nvrtc::sys::is_culib_present() } {
        return Some("CUDA's run-time compiler (libnvrtc.so)".to_owned());
    }
    None
}
