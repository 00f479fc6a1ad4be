/**
 * A store whose values are encrypted at rest: AES-256-GCM around any other store.
 *
 *   stored value = nonce (12 bytes) · tag (16 bytes) · ciphertext
 *
 * The key name is authenticated with the value, so a value moved under another key is refused.
 * Names and sizes stay visible. Parts are addressed by the digest of their plain bytes, so a
 * record reads the same from a plain store.
 *
 * @module
 */
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { KvaultError } from "@kvault/core";
import {
  type BlobStat,
  type BlobStore,
  type CallOptions,
  checkedStore,
  type PutOptions,
  type StoreAbilities,
} from "@kvault/kvstore";

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const OVERHEAD_BYTES = NONCE_BYTES + TAG_BYTES;

/** Wraps `inner`, which is closed with it; `secret` is 32 bytes. */
export function openEncryptedStore(inner: BlobStore, secret: Uint8Array): BlobStore {
  if (secret.byteLength !== 32) throw new RangeError(`Cannot encrypt: the secret has ${secret.byteLength} bytes, needs 32`);
  return checkedStore(new EncryptedStore(inner, secret));
}

class EncryptedStore implements BlobStore {
  readonly abilities: StoreAbilities;
  readonly #inner: BlobStore;
  readonly #secret: Uint8Array;

  constructor(inner: BlobStore, secret: Uint8Array) {
    this.abilities = inner.abilities;
    this.#inner = inner;
    this.#secret = secret;
  }

  async put(key: string, bytes: Uint8Array, options?: PutOptions): Promise<void> {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv("aes-256-gcm", this.#secret, nonce).setAAD(Buffer.from(key));
    const sealed = Buffer.concat([cipher.update(bytes), cipher.final()]);
    await this.#inner.put(key, Buffer.concat([nonce, cipher.getAuthTag(), sealed]), options);
  }

  async get(key: string, options?: CallOptions): Promise<Uint8Array> {
    const stored = await this.#inner.get(key, options);
    const [nonce, tag, sealed] = [
      stored.subarray(0, NONCE_BYTES),
      stored.subarray(NONCE_BYTES, OVERHEAD_BYTES),
      stored.subarray(OVERHEAD_BYTES),
    ];
    try {
      const decipher = createDecipheriv("aes-256-gcm", this.#secret, nonce).setAAD(Buffer.from(key)).setAuthTag(tag);
      const start = decipher.update(sealed);
      decipher.final(); // throws unless the tag fits; the mode has no last block
      return new Uint8Array(start);
    } catch (cause) {
      throw new KvaultError("CACHE_CORRUPT", `Cannot get "${key}": the value does not decrypt`, { details: { key }, cause });
    }
  }

  async stat(key: string, options?: CallOptions): Promise<BlobStat | undefined> {
    const found = await this.#inner.stat(key, options);
    return found === undefined ? undefined : { ...found, bytes: Math.max(0, found.bytes - OVERHEAD_BYTES) };
  }

  delete(key: string, options?: CallOptions): Promise<void> {
    return this.#inner.delete(key, options);
  }

  list(prefix: string, options?: CallOptions): AsyncIterable<string> {
    return this.#inner.list(prefix, options);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}
