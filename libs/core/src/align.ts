/**
 * Bytes are not numbers until checked: views that copy only when they must.
 *
 * Decoded protobuf `bytes` and small `Buffer`s are views at any offset of a larger
 * buffer; a typed array over them throws when misaligned. These functions are the
 * only way the code base turns bytes into typed arrays and back.
 *
 * @module
 */

export type NumericArray =
  | Float32Array
  | Float64Array
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigInt64Array;

interface NumericArrayConstructor<A extends NumericArray> {
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): A;
}

/** `bytes` as elements of `Type`: shares memory when aligned, copies otherwise. Throws RangeError on a ragged length. */
export function alignedView<A extends NumericArray>(bytes: Uint8Array, Type: NumericArrayConstructor<A>): A {
  const size = Type.BYTES_PER_ELEMENT;
  if (bytes.byteLength % size !== 0) {
    throw new RangeError(`Cannot view ${bytes.byteLength} bytes as elements of ${size} bytes`);
  }
  const aligned = bytes.byteOffset % size === 0 ? bytes : Uint8Array.prototype.slice.call(bytes);
  return new Type(aligned.buffer, aligned.byteOffset, aligned.byteLength / size);
}

/** The bytes behind a typed array; shares memory. */
export function bytesOf(array: NumericArray): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
