//! Sessions on the device, and bindings of their inputs and outputs to its memory.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{Arc, Mutex};

use napi::bindgen_prelude::{AsyncTask, Uint8Array};
use napi::{Env, Result, Task};
use napi_derive::napi;
use ort::ep;
use ort::environment::Environment;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{IoBinding, RunOptions, Session};
use ort::value::{DynTensor, Shape, Tensor, TensorRefMut};
use ort::AsPointer;

use crate::attention::operators;
use crate::failure::{failure, onnx, FAILED, INVALID};
use crate::kernels::Kernels;
use crate::memory::{DeviceBuffer, Memory};
use crate::runtime::Device;

#[napi(object)]
#[derive(Default, Clone)]
pub struct SessionOptions {
    /** Capture the kernels of a run and replay them: shapes and addresses of a binding must then never change. @default false */
    pub cuda_graph: Option<bool>,
    /** Bytes ONNX Runtime may take of the device. @default no limit */
    pub memory_limit: Option<f64>,
}

pub struct LoadSession {
    environment: &'static Environment,
    device: Arc<Device>,
    kernels: Arc<Kernels>,
    path: String,
    options: SessionOptions,
}

impl LoadSession {
    pub fn new(environment: &'static Environment, device: &Arc<Device>, kernels: &Arc<Kernels>, path: String, options: SessionOptions) -> Self {
        Self { environment, device: device.clone(), kernels: kernels.clone(), path, options }
    }

    fn load(&self) -> std::result::Result<Session, ort::Error> {
        let graph = self.options.cuda_graph.unwrap_or(false);
        let mut provider = ep::CUDA::default()
            .with_device_id(self.device.ordinal)
            .with_arena_extend_strategy(ep::ArenaExtendStrategy::SameAsRequested)
            .with_tf32(false)
            .with_cuda_graph(graph);
        if let Some(limit) = self.options.memory_limit {
            provider = provider.with_memory_limit(limit as usize);
        }
        let mut builder = Session::builder(self.environment)?
            .with_execution_providers([provider.build().error_on_failure()])?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_operators(operators(&self.device, &self.kernels)?)?;
        builder.commit_from_file(&self.path)
    }
}

impl Task for LoadSession {
    type Output = Session;
    type JsValue = CudaSession;

    fn compute(&mut self) -> Result<Session> {
        self.device.enter()?;
        self.load().map_err(|error| failure(FAILED, format!("Cannot load graph {}: {error}", self.path)))
    }

    fn resolve(&mut self, _: Env, session: Session) -> Result<CudaSession> {
        Ok(CudaSession { device: self.device.clone(), session: Mutex::new(Some(Arc::new(Mutex::new(session)))) })
    }
}

#[napi]
pub struct CudaSession {
    device: Arc<Device>,
    session: Mutex<Option<Arc<Mutex<Session>>>>,
}

#[napi]
impl CudaSession {
    /** Everything one kind of run reads and writes. Bindings of a session run one at a time. */
    #[napi]
    pub fn bind(&self) -> Result<Binding> {
        let session = self.session.lock().unwrap().clone().ok_or_else(|| failure(INVALID, "Cannot bind session: it is closed"))?;
        let io = session.lock().unwrap().create_binding().map_err(onnx("bind session"))?;
        Ok(Binding {
            device: self.device.clone(),
            bound: Arc::new(Mutex::new(Some(Bound { io, session, owners: HashMap::new() }))),
        })
    }

    /** Gives up this owner; bindings keep the session until they are closed. */
    #[napi]
    pub fn close(&self) {
        self.session.lock().unwrap().take();
    }
}

/** `io` goes first: it refers to the session and to memory that the others own. */
struct Bound {
    io: IoBinding,
    session: Arc<Mutex<Session>>,
    owners: HashMap<String, Arc<Memory>>,
}

// SAFETY: only used by whoever holds the lock.
unsafe impl Send for Bound {}

enum Side {
    Input,
    Output,
}

impl Bound {
    /** Binds a tensor as it is. The crate's own `bind_input` copies tensors that it did not allocate itself. */
    fn attach(&mut self, side: Side, name: &str, tensor: *const ort::sys::OrtValue) -> Result<()> {
        let c_name = CString::new(name).map_err(|_| failure(INVALID, format!("Cannot bind \"{name}\": not a name")))?;
        let bind = match side {
            Side::Input => ort::api().BindInput,
            Side::Output => ort::api().BindOutput,
        };
        // SAFETY: ONNX Runtime keeps what the value refers to; the memory itself is kept by `owners`.
        let status = unsafe { bind(self.io.ptr().cast_mut(), c_name.as_ptr(), tensor) };
        // SAFETY: a status of ONNX Runtime, taken over.
        unsafe { ort::Error::result_from_status(status) }.map_err(onnx("bind tensor"))
    }
}

#[napi]
pub struct Binding {
    device: Arc<Device>,
    bound: Arc<Mutex<Option<Bound>>>,
}

/** A tensor over device memory. */
fn on_device(device: &Device, memory: &Memory, offset: usize, kind: &str, dims: &[i64]) -> Result<TensorRefMut<'static, u8>> {
    let count: i64 = dims.iter().product();
    let what = onnx("make a tensor of device memory");
    let info = || MemoryInfo::new(AllocationDevice::CUDA, device.ordinal, AllocatorType::Device, MemoryType::Default).map_err(&what);
    memory.check(offset, count as usize * element_bytes(kind)?)?;
    let (at, shape) = ((memory.address as usize + offset) as *mut _, Shape::new(dims.iter().copied()));
    // SAFETY: the range lies in `memory`, which the binding owns as long as the tensor; types are only how it is seen.
    unsafe {
        macro_rules! of {
            ($element:ty) => {
                std::mem::transmute(TensorRefMut::<$element>::from_raw(info()?, at, shape).map_err(&what)?)
            };
        }
        Ok(match kind {
            "f32" => of!(f32),
            "f16" => of!(half::f16),
            "i64" => of!(i64),
            "i32" => of!(i32),
            _ => of!(u8),
        })
    }
}

fn element_bytes(kind: &str) -> Result<usize> {
    match kind {
        "f32" | "i32" => Ok(4),
        "f16" => Ok(2),
        "i64" => Ok(8),
        "u8" => Ok(1),
        _ => Err(failure(INVALID, format!("Cannot bind elements of type \"{kind}\": known are f32, f16, i64, i32, u8"))),
    }
}

/** A tensor of the host over a copy of `data`. */
fn on_host(kind: &str, dims: &[i64], data: &[u8]) -> Result<DynTensor> {
    let count: i64 = dims.iter().product();
    if data.len() != count as usize * element_bytes(kind)? {
        return Err(failure(INVALID, format!("Cannot bind {} bytes as {kind} {dims:?}", data.len())));
    }
    let what = onnx("make a tensor");
    macro_rules! of {
        ($element:ty) => {{
            let size = std::mem::size_of::<$element>();
            // SAFETY: any bytes are a number of these types.
            let values: Vec<$element> = data.chunks_exact(size).map(|bytes| unsafe { bytes.as_ptr().cast::<$element>().read_unaligned() }).collect();
            Tensor::<$element>::from_array((dims.to_vec(), values)).map_err(what)?.upcast()
        }};
    }
    Ok(match kind {
        "f32" => of!(f32),
        "f16" => of!(half::f16),
        "i64" => of!(i64),
        "i32" => of!(i32),
        _ => of!(u8),
    })
}

#[napi]
impl Binding {
    fn with<T>(&self, act: impl FnOnce(&mut Bound) -> Result<T>) -> Result<T> {
        let mut bound = self.bound.try_lock().map_err(|_| failure(INVALID, "Cannot change binding: it is running"))?;
        act(bound.as_mut().ok_or_else(|| failure(INVALID, "Cannot use binding: it is closed"))?)
    }

    /** Reads input `name` from `buffer`, in place. */
    #[napi]
    pub fn input(&self, name: String, kind: String, dims: Vec<i64>, buffer: &DeviceBuffer, offset: Option<f64>) -> Result<()> {
        let memory = buffer.memory()?;
        self.with(|bound| {
            let tensor = on_device(&self.device, &memory, offset.unwrap_or(0.0) as usize, &kind, &dims)?;
            bound.attach(Side::Input, &name, tensor.ptr())?;
            bound.owners.insert(name, memory);
            Ok(())
        })
    }

    /** Copies `data` for input `name`, now. */
    #[napi]
    pub fn host_input(&self, name: String, kind: String, dims: Vec<i64>, data: Uint8Array) -> Result<()> {
        self.device.enter()?;
        self.with(|bound| {
            let tensor = on_host(&kind, &dims, data.as_ref())?;
            bound.io.bind_input(name.clone(), &tensor).map_err(onnx("bind input"))?;
            bound.owners.remove(&name);
            Ok(())
        })
    }

    /** Writes output `name` to `buffer`, in place. */
    #[napi]
    pub fn output(&self, name: String, kind: String, dims: Vec<i64>, buffer: &DeviceBuffer, offset: Option<f64>) -> Result<()> {
        let memory = buffer.memory()?;
        self.with(|bound| {
            let tensor = on_device(&self.device, &memory, offset.unwrap_or(0.0) as usize, &kind, &dims)?;
            bound.attach(Side::Output, &name, tensor.ptr())?;
            bound.owners.insert(format!("-> {name}"), memory);
            Ok(())
        })
    }

    /**
     * Runs the graph `times` times and waits for the device. With a CUDA graph, `capture` numbers the shape: its first
     * runs are recorded, later ones replayed.
     */
    #[napi]
    pub fn run(&self, capture: Option<i32>, times: Option<u32>) -> AsyncTask<Run> {
        AsyncTask::new(Run { device: self.device.clone(), bound: self.bound.clone(), capture, times: times.unwrap_or(1) })
    }

    #[napi]
    pub fn close(&self) -> Result<()> {
        self.bound.try_lock().map_err(|_| failure(INVALID, "Cannot close binding: it is running"))?.take();
        Ok(())
    }
}

pub struct Run {
    device: Arc<Device>,
    bound: Arc<Mutex<Option<Bound>>>,
    capture: Option<i32>,
    times: u32,
}

impl Task for Run {
    type Output = ();
    type JsValue = ();

    fn compute(&mut self) -> Result<()> {
        self.device.enter()?;
        let mut bound = self.bound.lock().unwrap();
        let bound = bound.as_mut().ok_or_else(|| failure(INVALID, "Cannot run binding: it is closed"))?;
        let mut options = RunOptions::new().map_err(onnx("run graph"))?;
        if let Some(capture) = self.capture {
            options.set("gpu_graph_id", capture.to_string()).map_err(onnx("run graph"))?;
        }
        let session = bound.session.lock().unwrap();
        for _ in 0..self.times {
            // SAFETY: session, binding and the memory it refers to live as long as `bound`, which this run has to itself.
            let status = unsafe { (ort::api().RunWithBinding)(session.ptr().cast_mut(), options.ptr(), bound.io.ptr()) };
            // SAFETY: a status of ONNX Runtime, taken over.
            unsafe { ort::Error::result_from_status(status) }.map_err(onnx("run graph"))?;
        }
        Ok(())
    }

    fn resolve(&mut self, _: Env, _: ()) -> Result<()> {
        Ok(())
    }
}
