//! Memory of the device, owned by whoever allocated it and by every binding that reads or writes it.

use std::sync::{Arc, Mutex};

use cudarc::driver::{result, sys};
use napi::bindgen_prelude::{AsyncTask, Uint8Array};
use napi::{Env, Result, Task};
use napi_derive::napi;

use crate::failure::{driver, failure, INVALID};
use crate::runtime::Device;

/** Bytes of the device, freed when the last owner lets go. */
pub struct Memory {
    pub address: sys::CUdeviceptr,
    pub bytes: usize,
    pub device: Arc<Device>,
}

impl Memory {
    pub fn allocate(device: &Arc<Device>, bytes: usize) -> Result<Arc<Self>> {
        device.enter()?;
        // SAFETY: the context is current; the address is freed once, in drop.
        let address = unsafe { result::malloc_sync(bytes.max(16)) }.map_err(driver("allocate device memory"))?;
        Ok(Arc::new(Self { address, bytes, device: device.clone() }))
    }

    pub fn zeroed(device: &Arc<Device>, bytes: usize) -> Result<Arc<Self>> {
        let memory = Self::allocate(device, bytes)?;
        // SAFETY: the whole of an allocation this value owns.
        unsafe { result::memset_d8_sync(memory.address, 0, bytes) }.map_err(driver("fill device memory"))?;
        Ok(memory)
    }

    pub fn check(&self, offset: usize, bytes: usize) -> Result<()> {
        if offset.checked_add(bytes).is_some_and(|end| end <= self.bytes) {
            return Ok(());
        }
        Err(failure(INVALID, format!("Cannot use bytes {offset} to {offset} + {bytes}: the buffer has {}", self.bytes)))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.device.enter().is_ok() {
            // SAFETY: allocated by this value, and no binding holds it any more.
            let _ = unsafe { result::free_sync(self.address) };
        }
    }
}

/** A buffer of the device. `free` gives up this owner; bindings that use it keep it until they are closed. */
#[napi]
pub struct DeviceBuffer {
    memory: Mutex<Option<Arc<Memory>>>,
}

impl DeviceBuffer {
    pub fn new(memory: Arc<Memory>) -> Self {
        Self { memory: Mutex::new(Some(memory)) }
    }

    pub fn memory(&self) -> Result<Arc<Memory>> {
        self.memory.lock().unwrap().clone().ok_or_else(|| failure(INVALID, "Cannot use buffer: it was freed"))
    }
}

#[napi]
impl DeviceBuffer {
    #[napi(getter)]
    pub fn bytes(&self) -> Result<f64> {
        Ok(self.memory()?.bytes as f64)
    }

    /** Copies `data` to `offset`; `data` must not change until the promise is kept. */
    #[napi]
    pub fn upload(&self, data: Uint8Array, offset: Option<f64>) -> Result<AsyncTask<Upload>> {
        let memory = self.memory()?;
        let offset = offset.unwrap_or(0.0) as usize;
        memory.check(offset, data.len())?;
        Ok(AsyncTask::new(Upload { memory, data, offset }))
    }

    /** A copy of `bytes` bytes from `offset`. */
    #[napi]
    pub fn download(&self, offset: Option<f64>, bytes: Option<f64>) -> Result<AsyncTask<Download>> {
        let memory = self.memory()?;
        let offset = offset.unwrap_or(0.0) as usize;
        let bytes = bytes.map_or(memory.bytes.saturating_sub(offset), |bytes| bytes as usize);
        memory.check(offset, bytes)?;
        Ok(AsyncTask::new(Download { memory, offset, bytes }))
    }

    /** Sets every byte. */
    #[napi]
    pub fn fill(&self, value: u8) -> Result<()> {
        let memory = self.memory()?;
        memory.device.enter()?;
        // SAFETY: the whole of an allocation this value owns.
        unsafe { result::memset_d8_sync(memory.address, value, memory.bytes) }.map_err(driver("fill device memory"))
    }

    #[napi]
    pub fn free(&self) {
        self.memory.lock().unwrap().take();
    }
}

pub struct Upload {
    memory: Arc<Memory>,
    data: Uint8Array,
    offset: usize,
}

impl Task for Upload {
    type Output = ();
    type JsValue = ();

    fn compute(&mut self) -> Result<()> {
        self.memory.device.enter()?;
        // SAFETY: the range was checked, and both ends live as long as this task.
        unsafe { result::memcpy_htod_sync::<u8>(self.memory.address + self.offset as u64, self.data.as_ref()) }
            .map_err(driver("copy to the device"))
    }

    fn resolve(&mut self, _: Env, _: ()) -> Result<()> {
        Ok(())
    }
}

pub struct Download {
    memory: Arc<Memory>,
    offset: usize,
    bytes: usize,
}

impl Task for Download {
    type Output = Vec<u8>;
    type JsValue = Uint8Array;

    fn compute(&mut self) -> Result<Vec<u8>> {
        self.memory.device.enter()?;
        let mut out = vec![0u8; self.bytes];
        // SAFETY: the range was checked.
        unsafe { result::memcpy_dtoh_sync(&mut out, self.memory.address + self.offset as u64) }.map_err(driver("copy from the device"))?;
        Ok(out)
    }

    fn resolve(&mut self, _: Env, out: Vec<u8>) -> Result<Uint8Array> {
        Ok(Uint8Array::new(out))
    }
}
