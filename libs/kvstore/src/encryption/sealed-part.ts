/**
 * A part as it is stored when it is encrypted. Every part has a data key of its own, wrapped by
 * its tenant's:
 *
 *   "KVSEAL01" (8) ‖ tenant key id (8) ‖ wrapped data key (60) ‖ nonce (12) ‖ ciphertext ‖ tag (16)
 *
 * Header, context, layer and place in the layer are authenticated: a part that is moved to another
 * context, layer or place, or whose header is changed, does not open. Stores and records see bytes
 * as any others: a part's SHA-256 is of the sealed ones.
 *
 * @module
 */
import { randomBytes } from "node:crypto";
import { KvaultError } from "@kvault/core";
import { KEY_BYTES, SEAL_BYTES, seal, unseal } from "./envelope.ts";
import type { TenantKey } from "./tenant-keys.ts";

/** Where a part belongs. */
export interface PartPlace {
  readonly contextId: string;
  readonly layer: number;
  /** Index among the layer's parts. */
  readonly part: number;
}

const MAGIC = Buffer.from("KVSEAL01", "latin1");
const ID_BYTES = 8;
const WRAPPED_BYTES = KEY_BYTES + SEAL_BYTES;
const HEADER_BYTES = MAGIC.byteLength + ID_BYTES + WRAPPED_BYTES;

/** Bytes that sealing adds to a part. */
export const SEALED_PART_BYTES: number = HEADER_BYTES + SEAL_BYTES;

export function sealPart(plain: Uint8Array, key: TenantKey, place: PartPlace): Uint8Array {
  const dataKey = randomBytes(KEY_BYTES);
  const wrapped = seal(key.key, dataKey, `kvault.data-key/1 ${key.id} ${placeOf(place)}`);
  const body = seal(dataKey, plain, `kvault.part/1 ${key.id} ${placeOf(place)}`);
  return Buffer.concat([MAGIC, Buffer.from(key.id, "hex"), wrapped, body]);
}

/** Whether bytes begin as what {@link sealPart} makes. */
export function isSealed(bytes: Uint8Array): boolean {
  return bytes.byteLength >= SEALED_PART_BYTES && MAGIC.equals(bytes.subarray(0, MAGIC.byteLength));
}

/** Id of the tenant's key that sealed a part; undefined when it is not sealed. */
export function sealedKeyId(bytes: Uint8Array): string | undefined {
  if (!isSealed(bytes)) return undefined;
  return Buffer.from(bytes.subarray(MAGIC.byteLength, MAGIC.byteLength + ID_BYTES)).toString("hex");
}

/** CACHE_CORRUPT when `sealed` is no sealed part, is damaged or belongs elsewhere; STORE_FORBIDDEN when another key sealed it. */
export function openPart(sealed: Uint8Array, key: TenantKey, place: PartPlace): Uint8Array {
  const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
  if (!isSealed(bytes)) {
    throw corrupt(place, "it is not a sealed part");
  }
  const id = bytes.subarray(MAGIC.byteLength, MAGIC.byteLength + ID_BYTES).toString("hex");
  if (id !== key.id) {
    throw new KvaultError("STORE_FORBIDDEN", `Cannot open ${nameOf(place)}: it was sealed with key "${id}", which is gone`, {
      details: { ...place, keyId: id },
    });
  }
  const wrapped = bytes.subarray(MAGIC.byteLength + ID_BYTES, HEADER_BYTES);
  const dataKey = unseal(key.key, wrapped, `kvault.data-key/1 ${id} ${placeOf(place)}`);
  if (dataKey?.byteLength !== KEY_BYTES) throw corrupt(place, "its data key does not open here");
  const plain = unseal(dataKey, bytes.subarray(HEADER_BYTES), `kvault.part/1 ${id} ${placeOf(place)}`);
  if (plain === undefined) throw corrupt(place, "its bytes do not open");
  return plain;
}

function placeOf({ contextId, layer, part }: PartPlace): string {
  return `${contextId} ${layer} ${part}`;
}

function nameOf({ contextId, layer, part }: PartPlace): string {
  return `part ${part} of layer ${layer} of context "${contextId}"`;
}

function corrupt(place: PartPlace, what: string): KvaultError {
  return new KvaultError("CACHE_CORRUPT", `Cannot open ${nameOf(place)}: ${what}`, { details: { ...place } });
}
