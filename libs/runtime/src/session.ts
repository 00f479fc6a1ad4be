/**
 * ONNX Runtime behind our interface: the only file that imports onnxruntime-node.
 *
 * `run` blocks the calling thread until it is done, so sessions live in engine processes.
 * Inputs are read in place; outputs given in `outputs` are written in place. The native library
 * is loaded at first use: supervisors import this package and never need it.
 *
 * @module
 */
import { createRequire } from "node:module";
import { KvaultError } from "@kvault/core";
import type * as ort from "onnxruntime-node";

/** A tensor over memory we own: no copy is made on the way in or out. */
export type Tensor = ort.Tensor;
export type Tensors = Readonly<Record<string, Tensor>>;

export interface SessionOptions {
  /** Threads of one run. */
  readonly numThreads: number;
}

export interface Session {
  /** Runs the whole graph, writing into `outputs`. */
  run(inputs: Tensors, outputs: Tensors): Promise<void>;
  close(): Promise<void>;
}

let library: typeof ort | undefined;

function onnxRuntime(): typeof ort {
  library ??= createRequire(import.meta.url)("onnxruntime-node") as typeof ort;
  return library;
}

/** Loads a graph from its file, beside which its external weights lie, or from bytes that need none. */
export async function openSession(graph: string | Uint8Array, { numThreads }: SessionOptions): Promise<Session> {
  let session: ort.InferenceSession;
  try {
    session = await onnxRuntime().InferenceSession.create(graph as string, {
      executionProviders: ["cpu"],
      intraOpNumThreads: numThreads,
      interOpNumThreads: 1,
      executionMode: "sequential",
      graphOptimizationLevel: "all",
      logSeverityLevel: 3,
    });
  } catch (cause) {
    throw new KvaultError(
      "MODEL_CORRUPT",
      `Cannot load graph${typeof graph === "string" ? ` "${graph}"` : ""}: ${(cause as Error).message}`,
      { cause },
    );
  }
  return {
    async run(inputs, outputs) {
      await session.run(inputs as ort.InferenceSession.FeedsType, outputs as ort.InferenceSession.FetchesType);
    },
    close: () => session.release(),
  };
}

/** f32 over `data`, whose length is the product of `dims`. */
export function f32Tensor(data: Float32Array, dims: readonly number[]): Tensor {
  return new (onnxRuntime().Tensor)("float32", data, dims);
}

export function i64Tensor(values: ArrayLike<number>, dims: readonly number[] = [values.length]): Tensor {
  return new (onnxRuntime().Tensor)("int64", BigInt64Array.from(values, BigInt), dims);
}

export function i32Tensor(values: readonly number[], dims: readonly number[] = [values.length]): Tensor {
  return new (onnxRuntime().Tensor)("int32", Int32Array.from(values), dims);
}

/** Tensors `name.l` of one shape for each of `layers`, each over memory of its own. */
export function perLayer(
  layers: readonly number[],
  name: string,
  allocate: (layer: number) => Float32Array,
  dims: readonly number[],
): Record<string, Tensor> {
  return Object.fromEntries(layers.map((layer) => [`${name}.${layer}`, f32Tensor(allocate(layer), dims)]));
}
