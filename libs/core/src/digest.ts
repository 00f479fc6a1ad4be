/// <reference lib="es2024.string" />
/**
 * SHA-256 over canonical, length-prefixed bytes.
 *
 * A digest never depends on language objects, key order, locale or process seeds: every
 * field is written as its name and its value, each preceded by its byte length (u64 little
 * endian), in the order given. So no two different lists of fields share an encoding. A string without a
 * UTF-8 form (a lone surrogate) is a RangeError: encoders replace it, and two texts would be one.
 *
 * @module
 */
import { createHash } from "node:crypto";

export type DigestValue = string | Uint8Array;

/** Hex SHA-256 of `bytes`. */
export function sha256Hex(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Hex SHA-256 of the canonical encoding of `fields`, in order. `domain` separates uses and carries a version. */
export function digestFields(domain: string, fields: readonly (readonly [name: string, value: DigestValue])[]): string {
  const hash = createHash("sha256");
  const put = (value: DigestValue): void => {
    if (typeof value === "string" && !value.isWellFormed()) {
      throw new RangeError("Cannot digest text: it holds a lone surrogate");
    }
    const bytes = typeof value === "string" ? Buffer.from(value, "utf8") : value;
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(bytes.byteLength));
    hash.update(length).update(bytes);
  };
  put(domain);
  for (const [name, value] of fields) {
    put(name);
    put(value);
  }
  return hash.digest("hex");
}
