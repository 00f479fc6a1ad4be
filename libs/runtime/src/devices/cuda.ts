/**
 * Sessions on an NVIDIA GPU, through the addon of native/.
 *
 * Inputs are copied to device buffers that are kept from run to run, outputs are written to
 * device buffers and copied back: weights and everything between inputs and outputs stay on
 * the device. Runs happen on a thread of libuv's pool, so the engine's event loop goes on.
 * Graphs given as bytes (small products beside the model) run on the CPU.
 *
 * @module
 */
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { bytesOf, KvaultError } from "@kvault/core";
import { openSession, type Session, type SessionOptions, type Tensor, type Tensors } from "../session.ts";
import type { Device } from "./device.ts";

type ElementKind = "f32" | "i64" | "i32";

interface DeviceBuffer {
  readonly bytes: number;
  upload(data: Uint8Array): Promise<void>;
  download(offset: number, bytes: number): Promise<Uint8Array>;
  free(): void;
}

interface Binding {
  input(name: string, kind: ElementKind, dims: readonly number[], buffer: DeviceBuffer): void;
  output(name: string, kind: ElementKind, dims: readonly number[], buffer: DeviceBuffer): void;
  run(): Promise<void>;
  close(): void;
}

interface NativeSession {
  bind(): Binding;
  close(): void;
}

interface CudaRuntime {
  allocate(bytes: number): DeviceBuffer;
  loadSession(path: string): Promise<NativeSession>;
}

/** What native/src exports. */
export interface NativeAddon {
  missing(): string | null;
  readonly CudaRuntime: { open(options: { readonly library: string }): CudaRuntime };
}

/** The addon and ONNX Runtime's CUDA build, where `make native` puts them. */
const NATIVE = new URL("../../../../native/", import.meta.url);
const ADDON = fileURLToPath(new URL(`kvault-native.${process.platform}-${process.arch}.node`, NATIVE));
const LIBRARY = fileURLToPath(new URL("onnxruntime/libonnxruntime.so", NATIVE));
const KINDS: Readonly<Record<string, ElementKind>> = { float32: "f32", int64: "i64", int32: "i32" };

/** INVALID_ARGUMENT that says what is missing and what to do. */
export function openCudaDevice(load: (path: string) => NativeAddon = createRequire(import.meta.url)): Device {
  const cannot = (found: string, cause?: unknown): KvaultError =>
    new KvaultError(
      "INVALID_ARGUMENT",
      `Cannot use device "cuda": ${found}; run "make native" on a machine with an NVIDIA GPU (docs/gpu.md), or use device "cpu"`,
      { details: { device: "cuda" }, ...(cause === undefined ? {} : { cause }) },
    );
  let runtime: CudaRuntime;
  try {
    const addon = load(ADDON);
    const missing = addon.missing();
    if (missing !== null) throw new Error(`this machine lacks ${missing}`);
    runtime = addon.CudaRuntime.open({ library: LIBRARY });
  } catch (cause) {
    const { message, code } = cause as NodeJS.ErrnoException;
    throw cannot(code === "MODULE_NOT_FOUND" ? "the native addon is not built" : message, cause);
  }
  return {
    async openSession(graph: string | Uint8Array, options: SessionOptions): Promise<Session> {
      if (typeof graph !== "string") return openSession(graph, options);
      try {
        return new CudaSession(runtime, await runtime.loadSession(graph));
      } catch (cause) {
        throw new KvaultError("MODEL_CORRUPT", `Cannot load graph "${graph}" on the GPU: ${(cause as Error).message}`, { cause });
      }
    },
  };
}

class CudaSession implements Session {
  private readonly runtime: CudaRuntime;
  private readonly session: NativeSession;
  /** By input or output; replaced by one twice as large when it is too small. */
  private readonly buffers = new Map<string, DeviceBuffer>();

  constructor(runtime: CudaRuntime, session: NativeSession) {
    this.runtime = runtime;
    this.session = session;
  }

  async run(inputs: Tensors, outputs: Tensors): Promise<void> {
    const binding = this.session.bind();
    try {
      for (const [name, tensor] of Object.entries(inputs)) {
        const data = bytesOf(tensor.data as Float32Array);
        const buffer = this.bufferFor(name, data.byteLength);
        if (data.byteLength > 0) await buffer.upload(data);
        binding.input(name, kindOf(name, tensor), tensor.dims, buffer);
      }
      for (const [name, tensor] of Object.entries(outputs)) {
        binding.output(
          name,
          kindOf(name, tensor),
          tensor.dims,
          this.bufferFor(name, bytesOf(tensor.data as Float32Array).byteLength),
        );
      }
      await binding.run();
      for (const [name, tensor] of Object.entries(outputs)) {
        const data = bytesOf(tensor.data as Float32Array);
        data.set(await this.bufferFor(name, data.byteLength).download(0, data.byteLength));
      }
    } finally {
      binding.close();
    }
  }

  async close(): Promise<void> {
    this.session.close();
    for (const buffer of this.buffers.values()) buffer.free();
    this.buffers.clear();
  }

  private bufferFor(name: string, bytes: number): DeviceBuffer {
    let buffer = this.buffers.get(name);
    if (buffer === undefined || buffer.bytes < bytes) {
      const twice = (buffer?.bytes ?? 0) * 2;
      buffer?.free();
      buffer = this.runtime.allocate(Math.max(bytes, twice));
      this.buffers.set(name, buffer);
    }
    return buffer;
  }
}

function kindOf(name: string, { type }: Tensor): ElementKind {
  const kind = KINDS[type];
  if (kind === undefined) throw new RangeError(`Cannot bind "${name}": elements of type ${type}`);
  return kind;
}
