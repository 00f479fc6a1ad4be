/**
 * One external data file per model: every weight all graphs share, in the form ONNX Runtime
 * computes with, and an index of names, types, shapes and byte ranges.
 *
 * Tensors start at multiples of 4096 bytes so that ONNX Runtime can map them. Bytes are
 * streamed tensor by tensor: building a 0.5B model holds one matrix at a time.
 *
 * @module
 */
import type { FileHandle } from "node:fs/promises";
import { bytesOf } from "@kvault/core";
import type { MatMulNBitsWeight } from "../quant/matmul-nbits.ts";
import type { ElementType } from "./graph-builder.ts";

/** A tensor's place in the external data file. */
export interface ExternalTensor {
  readonly type: ElementType;
  readonly shape: readonly number[];
  readonly byteOffset: number;
  readonly byteLength: number;
}

/** A block-quantised matrix `[rows, columns]`; its tensors are `name.quant`, `name.scale`, `name.zero`. */
export interface MatrixInfo {
  readonly rows: number;
  readonly columns: number;
  readonly bits: 4 | 8;
  readonly blockSize: number;
}

/** What the external data file holds. */
export interface WeightsIndex {
  readonly tensors: Readonly<Record<string, ExternalTensor>>;
  readonly matrices: Readonly<Record<string, MatrixInfo>>;
}

const ALIGNMENT_BYTES = 4096;

export class WeightsWriter {
  private readonly tensors: Record<string, ExternalTensor> = {};
  private readonly matrices: Record<string, MatrixInfo> = {};
  private readonly file: FileHandle;
  private end = 0;

  /** Appends to `file`, which the caller opened empty and closes. */
  constructor(file: FileHandle) {
    this.file = file;
  }

  get index(): WeightsIndex {
    return { tensors: this.tensors, matrices: this.matrices };
  }

  async writeTensor(name: string, shape: readonly number[], data: Float32Array | Uint8Array): Promise<void> {
    if (Object.hasOwn(this.tensors, name)) throw new RangeError(`Cannot write weight "${name}": written before`);
    const bytes = bytesOf(data);
    const byteOffset = Math.ceil(this.end / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
    for (let done = 0; done < bytes.byteLength; ) {
      const { bytesWritten } = await this.file.write(bytes, done, bytes.byteLength - done, byteOffset + done);
      done += bytesWritten;
    }
    this.tensors[name] = { type: data instanceof Float32Array ? "f32" : "u8", shape, byteOffset, byteLength: bytes.byteLength };
    this.end = byteOffset + bytes.byteLength;
  }

  async writeMatrix(name: string, matrix: MatMulNBitsWeight): Promise<void> {
    const { bits, blockSize, K, N, quant, scale, zeroPoint } = matrix;
    await this.writeTensor(`${name}.quant`, [N, K / blockSize, (blockSize * bits) / 8], quant);
    await this.writeTensor(`${name}.scale`, [scale.length], scale);
    if (zeroPoint !== undefined) await this.writeTensor(`${name}.zero`, [zeroPoint.length], zeroPoint);
    this.matrices[name] = { rows: N, columns: K, bits, blockSize };
  }
}
