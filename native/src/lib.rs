//! CUDA runtime of KVault for Node: device memory with explicit ownership, ONNX Runtime sessions whose inputs and
//! outputs stay on the device, and the ragged attention kernels as a custom operator of those sessions.
//!
//! Everything that waits (loading, copying, running) is a promise and runs on a thread of libuv's pool. Errors begin
//! with a code and a colon; libs/runtime turns them into its own.

mod attention;
mod failure;
mod kernels;
mod linear;
mod memory;
mod runtime;
mod session;
