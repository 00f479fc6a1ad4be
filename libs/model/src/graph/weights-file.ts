/**
 * One external data file per model: every weight all graphs share, in the form ONNX Runtime
 * computes with, and an index of names, types, shapes and byte ranges.
 *
 * Tensors start at multiples of 4096 bytes so that ONNX Runtime can map them. Bytes are
 * streamed: building a model holds some rows of one matrix at a time.
 *
 * @module
 */
import type { FileHandle } from "node:fs/promises";
import { bytesOf } from "@kvault/core";
import type { MatMulNBitsForm, MatMulNBitsWeight } from "../quant/matmul-nbits.ts";

/** Element types of tensors in our graphs. */
export type ElementType = "f32" | "i64" | "i32" | "u8";

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
    const bytes = bytesOf(data);
    await this.writeAt(bytes, this.allocate(name, data instanceof Float32Array ? "f32" : "u8", shape, bytes.byteLength));
  }

  /** Makes room for a matrix whose rows are then written in order, a slab of whole rows at a time. */
  openMatrix(name: string, form: MatMulNBitsForm, rows: number, columns: number): MatrixWriter {
    const { bits, blockSize, symmetric } = form;
    const blocks = columns / blockSize;
    const bytesPerBlock = (blockSize * bits) / 8;
    const quantAt = this.allocate(`${name}.quant`, "u8", [rows, blocks, bytesPerBlock], rows * blocks * bytesPerBlock);
    const scaleAt = this.allocate(`${name}.scale`, "f32", [rows * blocks], rows * blocks * Float32Array.BYTES_PER_ELEMENT);
    const zeroAt = symmetric ? undefined : this.allocate(`${name}.zero`, "u8", [rows * blocks], rows * blocks);
    this.matrices[name] = { rows, columns, bits, blockSize };
    let done = 0;
    return {
      writeRows: async ({ N, quant, scale, zeroPoint }) => {
        const block = done * blocks;
        done += N;
        await this.writeAt(quant, quantAt + block * bytesPerBlock);
        await this.writeAt(bytesOf(scale), scaleAt + block * Float32Array.BYTES_PER_ELEMENT);
        if (zeroAt !== undefined) await this.writeAt(zeroPoint as Uint8Array, zeroAt + block);
      },
    };
  }

  private allocate(name: string, type: ElementType, shape: readonly number[], byteLength: number): number {
    if (Object.hasOwn(this.tensors, name)) throw new RangeError(`Cannot write weight "${name}": written before`);
    const byteOffset = Math.ceil(this.end / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
    this.tensors[name] = { type, shape, byteOffset, byteLength };
    this.end = byteOffset + byteLength;
    return byteOffset;
  }

  private async writeAt(bytes: Uint8Array, position: number): Promise<void> {
    for (let done = 0; done < bytes.byteLength; ) {
      const { bytesWritten } = await this.file.write(bytes, done, bytes.byteLength - done, position + done);
      done += bytesWritten;
    }
  }
}

/** Takes a matrix' rows in order. */
export interface MatrixWriter {
  /** Appends `weight.N` rows. */
  writeRows(weight: MatMulNBitsWeight): Promise<void>;
}
