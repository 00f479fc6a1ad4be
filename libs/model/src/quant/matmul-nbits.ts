/**
 * GGML weight matrices → the operands of ONNX Runtime's `MatMulNBits` (com.microsoft): integers
 * `quant`, one f32 scale per block, and a packed integer zero point where the block is not
 * symmetric. `weight[n, k] = scale · (quant − zeroPoint)`; without `zeroPoint` it is 2^(bits−1).
 *
 * | from | to | what it loses |
 * | --- | --- | --- |
 * | q8_0 | 8 bit, block 32, scale d, q + 128 | nothing |
 * | q5_0 | 8 bit, block 32, scale d, (q − 16) + 128 | nothing |
 * | q6_k | 8 bit, block 16, scale d·sc, (q − 32) + 128 | nothing |
 * | q3_k | 8 bit, block 16, scale d·sc, (q − 4) + 128 | nothing |
 * | iq4_nl | 8 bit, block 32, scale d, level + 128 | nothing |
 * | q4_0 | 4 bit, block 32, scale d, zero point 8 | nothing |
 * | q4_1, q4_k, q5_k | 8 bit, block 32, own zero point (affine-block.ts) | see there |
 * | q2_k | 8 bit, block 16, own zero point | see there |
 * | f32, f16, bf16 | 8 bit, block 32, symmetric | up to 1/254 of the block's largest magnitude |
 *
 * GGML pairs element j (low nibble) with j + 16 (high nibble); MatMulNBits pairs 2i with 2i + 1.
 *
 * @module
 */
import { KvaultError, numberFromF16 } from "@kvault/core";
import { IQ4_NL_LEVELS } from "../dequant/iq4-nl.ts";
import { f16BitsAt } from "../dequant/layout.ts";
import { q2kValue } from "../dequant/q2-k.ts";
import { q3kScale, q3kValue } from "../dequant/q3-k.ts";
import { q4kMin, q4kScale } from "../dequant/q4-k.ts";
import { q5kValue } from "../dequant/q5-k.ts";
import { q6kValue } from "../dequant/q6-k.ts";
import { blockLayout, dequantise } from "../dequant/registry.ts";
import { fitAffineBlock } from "./affine-block.ts";

/** A weight matrix of N rows (outputs) and K columns (inputs). */
export interface MatMulNBitsWeight {
  readonly bits: 4 | 8;
  readonly blockSize: 16 | 32;
  /** Columns: length of the contraction. */
  readonly K: number;
  /** Rows: outputs. */
  readonly N: number;
  /** `[N, K / blockSize, blockSize · bits / 8]`. */
  readonly quant: Uint8Array;
  /** `[N, K / blockSize]`. */
  readonly scale: Float32Array;
  /** `[N, K / blockSize]` for 8 bits; absent when every block is symmetric. */
  readonly zeroPoint?: Uint8Array;
}

interface Operands {
  readonly quant: Uint8Array;
  readonly scale: Float32Array;
  readonly zeroPoint: Uint8Array;
}

/** Writes the operands of `numBlocks` source blocks. */
type Convert = (bytes: Uint8Array, numBlocks: number, out: Operands) => void;

/** What a GGML type becomes. */
export interface MatMulNBitsForm {
  readonly bits: 4 | 8;
  readonly blockSize: 16 | 32;
  /** No zero points are needed. */
  readonly symmetric: boolean;
}

interface Mapping extends MatMulNBitsForm {
  readonly convert: Convert;
}

const MAPPINGS: ReadonlyMap<string, Mapping> = new Map<string, Mapping>([
  ["q8_0", { bits: 8, blockSize: 32, symmetric: true, convert: convertQ8_0 }],
  ["q5_0", { bits: 8, blockSize: 32, symmetric: true, convert: convertQ5_0 }],
  ["q6_k", { bits: 8, blockSize: 16, symmetric: true, convert: convertQ6K }],
  ["q4_0", { bits: 4, blockSize: 32, symmetric: true, convert: convertQ4_0 }],
  ["q4_1", { bits: 8, blockSize: 32, symmetric: false, convert: convertQ4_1 }],
  ["q4_k", { bits: 8, blockSize: 32, symmetric: false, convert: convertQ4K }],
  ["q5_k", { bits: 8, blockSize: 32, symmetric: false, convert: convertQ5K }],
  ["q3_k", { bits: 8, blockSize: 16, symmetric: true, convert: convertQ3K }],
  ["q2_k", { bits: 8, blockSize: 16, symmetric: false, convert: convertQ2K }],
  ["iq4_nl", { bits: 8, blockSize: 32, symmetric: true, convert: convertIq4Nl }],
  ["f32", { bits: 8, blockSize: 32, symmetric: true, convert: convertFloat("f32") }],
  ["f16", { bits: 8, blockSize: 32, symmetric: true, convert: convertFloat("f16") }],
  ["bf16", { bits: 8, blockSize: 32, symmetric: true, convert: convertFloat("bf16") }],
]);

/** Types whose MatMulNBits form equals {@link dequantise} bit for bit. */
export const LOSSLESS_TYPES: ReadonlySet<string> = new Set(["q8_0", "q5_0", "q6_k", "q4_0", "q3_k", "iq4_nl"]);

/** The form that matrices of GGML type `type` take. MODEL_UNSUPPORTED for a type without a mapping. */
export function matMulNBitsForm(type: string): MatMulNBitsForm {
  return mappingOf(type);
}

function mappingOf(type: string): Mapping {
  const mapping = MAPPINGS.get(type);
  if (mapping === undefined) {
    throw new KvaultError("MODEL_UNSUPPORTED", `Cannot map tensor type "${type}" to MatMulNBits`, { details: { type } });
  }
  return mapping;
}

/**
 * `bytes` of a `[K, N]` GGUF tensor (K contiguous) → MatMulNBits operands. MODEL_UNSUPPORTED for a
 * type without a mapping, RangeError when K, N and the bytes do not agree.
 */
export function toMatMulNBits(type: string, bytes: Uint8Array, K: number, N: number): MatMulNBitsWeight {
  const { bits, blockSize, symmetric, convert } = mappingOf(type);
  const { blockElements, blockBytes } = blockLayout(type);
  if (K % blockElements !== 0 || K % blockSize !== 0) {
    throw new RangeError(`Cannot map ${type} [K=${K}, N=${N}]: K is not a multiple of ${Math.max(blockElements, blockSize)}`);
  }
  const numBlocks = (K / blockElements) * N;
  if (bytes.byteLength !== numBlocks * blockBytes) {
    throw new RangeError(`Cannot map ${type} [K=${K}, N=${N}]: needs ${numBlocks * blockBytes} bytes, found ${bytes.byteLength}`);
  }
  const numScales = (K / blockSize) * N;
  const quant = new Uint8Array((K * N * bits) / 8);
  const scale = new Float32Array(numScales);
  const zeroPoint = new Uint8Array(symmetric ? 0 : numScales);
  convert(bytes, numBlocks, { quant, scale, zeroPoint });
  return { bits, blockSize, K, N, quant, scale, ...(symmetric ? {} : { zeroPoint }) };
}

/** The matrix a {@link MatMulNBitsWeight} stands for, `[N, K]`; what the operator computes with. */
export function fromMatMulNBits(weight: MatMulNBitsWeight): Float32Array {
  const { bits, blockSize, K, N, quant, scale, zeroPoint } = weight;
  const out = new Float32Array(N * K);
  for (let i = 0; i < out.length; i++) {
    const block = (i / blockSize) | 0;
    const zero = zeroPoint === undefined ? 1 << (bits - 1) : (zeroPoint[block] as number);
    const stored = bits === 8 ? (quant[i] as number) : ((quant[i >> 1] as number) >> ((i & 1) << 2)) & 15;
    out[i] = (scale[block] as number) * (stored - zero);
  }
  return out;
}

function convertQ8_0(bytes: Uint8Array, numBlocks: number, { quant, scale }: Operands): void {
  for (let b = 0; b < numBlocks; b++) {
    const at = 34 * b;
    scale[b] = numberFromF16(f16BitsAt(bytes, at));
    // two's complement + 128 is the top bit flipped
    for (let j = 0; j < 32; j++) quant[32 * b + j] = (bytes[at + 2 + j] as number) ^ 128;
  }
}

function convertQ5_0(bytes: Uint8Array, numBlocks: number, { quant, scale }: Operands): void {
  for (let b = 0; b < numBlocks; b++) {
    const at = 22 * b;
    scale[b] = numberFromF16(f16BitsAt(bytes, at));
    const high = f16BitsAt(bytes, at + 2) | (f16BitsAt(bytes, at + 4) << 16);
    for (let j = 0; j < 16; j++) {
      const pair = bytes[at + 6 + j] as number;
      quant[32 * b + j] = ((pair & 15) | (((high >>> j) & 1) << 4)) + 112;
      quant[32 * b + j + 16] = ((pair >> 4) | (((high >>> (j + 16)) & 1) << 4)) + 112;
    }
  }
}

function convertQ6K(bytes: Uint8Array, numBlocks: number, { quant, scale }: Operands): void {
  for (let b = 0; b < numBlocks; b++) {
    const at = 210 * b;
    const d = numberFromF16(f16BitsAt(bytes, at + 208));
    for (let s = 0; s < 16; s++) scale[16 * b + s] = d * (((bytes[at + 192 + s] as number) << 24) >> 24);
    for (let h = 0; h < 2; h++) {
      for (let r = 0; r < 4; r++) {
        const to = 256 * b + 128 * h + 32 * r;
        for (let j = 0; j < 32; j++) quant[to + j] = q6kValue(bytes, at, h, r, j) + 96;
      }
    }
  }
}

function convertQ4_0(bytes: Uint8Array, numBlocks: number, { quant, scale }: Operands): void {
  for (let b = 0; b < numBlocks; b++) {
    const at = 18 * b;
    scale[b] = numberFromF16(f16BitsAt(bytes, at));
    for (let i = 0; i < 8; i++) {
      const first = bytes[at + 2 + 2 * i] as number;
      const second = bytes[at + 3 + 2 * i] as number;
      quant[16 * b + i] = (first & 15) | ((second & 15) << 4);
      quant[16 * b + 8 + i] = (first >> 4) | (second & 0xf0);
    }
  }
}

function convertQ4_1(bytes: Uint8Array, numBlocks: number, { quant, scale, zeroPoint }: Operands): void {
  for (let b = 0; b < numBlocks; b++) {
    const at = 20 * b;
    const d = numberFromF16(f16BitsAt(bytes, at));
    const fit = fitAffineBlock(d, numberFromF16(f16BitsAt(bytes, at + 2)));
    scale[b] = fit.scale;
    zeroPoint[b] = fit.zeroPoint;
    for (let j = 0; j < 16; j++) {
      const pair = bytes[at + 4 + j] as number;
      quant[32 * b + j] = fit.stored[pair & 15] as number;
      quant[32 * b + j + 16] = fit.stored[pair >> 4] as number;
    }
  }
}

function convertQ4K(bytes: Uint8Array, numBlocks: number, { quant, scale, zeroPoint }: Operands): void {
  for (let b = 0; b < numBlocks; b++) {
    const at = 144 * b;
    const d = numberFromF16(f16BitsAt(bytes, at));
    const dmin = numberFromF16(f16BitsAt(bytes, at + 2));
    for (let s = 0; s < 8; s++) {
      const fit = fitAffineBlock(d * q4kScale(bytes, at + 4, s), -dmin * q4kMin(bytes, at + 4, s));
      scale[8 * b + s] = fit.scale;
      zeroPoint[8 * b + s] = fit.zeroPoint;
      const shift = (s & 1) << 2;
      const from = at + 16 + 32 * (s >> 1);
      const to = 256 * b + 32 * s;
      for (let j = 0; j < 32; j++) quant[to + j] = fit.stored[((bytes[from + j] as number) >> shift) & 15] as number;
    }
  }
}

function convertQ5K(bytes: Uint8Array, numBlocks: number, { quant, scale, zeroPoint }: Operands): void {
  for (let b = 0; b < numBlocks; b++) {
    const at = 176 * b;
    const d = numberFromF16(f16BitsAt(bytes, at));
    const dmin = numberFromF16(f16BitsAt(bytes, at + 2));
    for (let s = 0; s < 8; s++) {
      const fit = fitAffineBlock(d * q4kScale(bytes, at + 4, s), -dmin * q4kMin(bytes, at + 4, s), 32);
      scale[8 * b + s] = fit.scale;
      zeroPoint[8 * b + s] = fit.zeroPoint;
      for (let j = 0; j < 32; j++) quant[256 * b + 32 * s + j] = fit.stored[q5kValue(bytes, at, s, j)] as number;
    }
  }
}

function convertQ3K(bytes: Uint8Array, numBlocks: number, { quant, scale }: Operands): void {
  for (let b = 0; b < numBlocks; b++) {
    const at = 110 * b;
    const d = numberFromF16(f16BitsAt(bytes, at + 108));
    for (let s = 0; s < 16; s++) scale[16 * b + s] = d * q3kScale(bytes, at, s);
    for (let h = 0; h < 2; h++) {
      for (let r = 0; r < 4; r++) {
        const to = 256 * b + 128 * h + 32 * r;
        for (let j = 0; j < 32; j++) quant[to + j] = q3kValue(bytes, at, h, r, j) + 128;
      }
    }
  }
}

function convertQ2K(bytes: Uint8Array, numBlocks: number, { quant, scale, zeroPoint }: Operands): void {
  for (let b = 0; b < numBlocks; b++) {
    const at = 84 * b;
    const d = numberFromF16(f16BitsAt(bytes, at + 80));
    const dmin = numberFromF16(f16BitsAt(bytes, at + 82));
    for (let s = 0; s < 16; s++) {
      const packed = bytes[at + s] as number;
      const fit = fitAffineBlock(d * (packed & 15), -dmin * (packed >> 4), 4);
      scale[16 * b + s] = fit.scale;
      zeroPoint[16 * b + s] = fit.zeroPoint;
      for (let j = 0; j < 16; j++) quant[256 * b + 16 * s + j] = fit.stored[q2kValue(bytes, at, s, j)] as number;
    }
  }
}

function convertIq4Nl(bytes: Uint8Array, numBlocks: number, { quant, scale }: Operands): void {
  for (let b = 0; b < numBlocks; b++) {
    const at = 18 * b;
    scale[b] = numberFromF16(f16BitsAt(bytes, at));
    for (let j = 0; j < 16; j++) {
      const pair = bytes[at + 2 + j] as number;
      quant[32 * b + j] = (IQ4_NL_LEVELS[pair & 15] as number) + 128;
      quant[32 * b + j + 16] = (IQ4_NL_LEVELS[pair >> 4] as number) + 128;
    }
  }
}

function convertFloat(type: string): Convert {
  return (bytes, _numBlocks, { quant, scale }) => {
    const values = dequantise(type, bytes);
    for (let b = 0; b < scale.length; b++) {
      let largest = 0;
      for (let j = 0; j < 32; j++) largest = Math.max(largest, Math.abs(values[32 * b + j] as number));
      const step = largest / 127;
      scale[b] = step;
      for (let j = 0; j < 32; j++) quant[32 * b + j] = step === 0 ? 128 : Math.round((values[32 * b + j] as number) / step) + 128;
    }
  };
}
