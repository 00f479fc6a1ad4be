/**
 * Where sessions run: the CPU through onnxruntime-node, or a GPU through the native addon.
 *
 * Sessions of every device take and fill tensors of the host; what a device keeps in its own
 * memory between runs is its own affair (native/, docs/gpu.md).
 *
 * @module
 */
import { openSession, type Session, type SessionOptions } from "../session.ts";
import { openCudaDevice } from "./cuda.ts";

export type DeviceName = "cpu" | "cuda";

export interface Device {
  /** Loads a graph from its file, beside which its external weights lie, or from bytes that need none. */
  openSession(graph: string | Uint8Array, options: SessionOptions): Promise<Session>;
}

/** INVALID_ARGUMENT where the device cannot be used on this machine. */
export function openDevice(name: DeviceName): Device {
  return name === "cpu" ? { openSession } : openCudaDevice();
}
