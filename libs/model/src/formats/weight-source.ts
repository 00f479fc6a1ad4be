/**
 * Where a model's weights come from: a GGUF file, or a folder of safetensors that looks like one.
 *
 * Metadata keys and tensor names are GGUF's, whatever the files are; families, tokenizers and
 * graphs know no other. Matrices are read a run of rows at a time, so none has to fit memory.
 *
 * @module
 */
import type { GgufMetadata } from "./gguf-metadata.ts";

/** A tensor of a {@link WeightSource}. */
export interface WeightTensor {
  /** Lower-case GGML layout, e.g. `q5_0`. */
  readonly type: string;
  /** `[ne0, ne1, …]`: ne0 is the contiguous (input, K) dimension of a weight matrix, ne1 its rows (N). */
  readonly shape: readonly number[];
  readonly byteLength: number;
}

/** `count` rows of a matrix from `first` on. */
export interface RowRange {
  readonly first: number;
  readonly count: number;
}

export interface WeightSource {
  /** File or folder. */
  readonly path: string;
  /** Bytes of all weight files. */
  readonly fileBytes: number;
  readonly metadata: GgufMetadata;
  readonly tensors: ReadonlyMap<string, WeightTensor>;
  /** Query and key rows of the `llama` family are in interleaved-RoPE order, as GGUF keeps them. */
  readonly interleavedRows: boolean;
  /**
   * The tensor's bytes, or those of some of a matrix' rows, in a fresh buffer. MODEL_CORRUPT when
   * there is none of that name, or a file ends early.
   */
  readTensor(name: string, rows?: RowRange): Promise<Uint8Array>;
  /** Idempotent. */
  close(): Promise<void>;
}

/** Where `rows` of a matrix lie in its bytes; all of them by default. */
export function rowBytes({ shape, byteLength }: WeightTensor, rows?: RowRange): { start: number; length: number } {
  if (rows === undefined) return { start: 0, length: byteLength };
  const numRows = shape.slice(1).reduce((product, size) => product * size, 1);
  if (rows.first < 0 || rows.count < 1 || rows.first + rows.count > numRows) {
    throw new RangeError(`Cannot read rows ${rows.first}..${rows.first + rows.count} of ${numRows}`);
  }
  const bytesPerRow = byteLength / numRows;
  return { start: rows.first * bytesPerRow, length: rows.count * bytesPerRow };
}
