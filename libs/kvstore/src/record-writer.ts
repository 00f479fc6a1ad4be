/**
 * Publishing a record: parts under their SHA-256, then the manifest, created only if absent.
 *
 * Of many builders of one context the first to commit wins; the others find its record and
 * clear away their own parts. Killed at any line, a writer leaves parts without a manifest:
 * garbage after a grace time (sweep.ts), never half a record.
 *
 * Two builders share a part when their bytes are equal. So every put writes, which renews the
 * part's age; clearing away spares what was there before or was put again since; and commit
 * looks that every part it names is there.
 *
 * @module
 */
import { isKvaultError, KvaultError, sha256Hex } from "@kvault/core";
import type { BlobStat, BlobStore, CallOptions } from "./blob-store.ts";
import { eachAtOnce } from "./each-at-once.ts";
import type { ContextManifest, PartRef } from "./manifest.ts";
import { encodeManifest, MANIFEST_LIMITS } from "./manifest.ts";
import { readManifest } from "./record.ts";
import { manifestKey, partKey } from "./record-layout.ts";

export interface CommitResult {
  /** The record's manifest: the one given, or the one that was there first. */
  readonly manifest: ContextManifest;
  /** False when another builder had committed the same context. */
  readonly created: boolean;
}

/** One attempt to publish a record. After commit or abandon it takes no more calls but `abandon`. */
export interface RecordWriter {
  /** Puts one safetensors file. The same bytes twice are one blob. At most 64 MiB (RangeError). */
  putPart(bytes: Uint8Array, options?: CallOptions): Promise<PartRef>;
  /**
   * Makes the record exist. A manifest that names a part not put here or contradicts itself is a
   * RangeError; a part that is gone from the store meanwhile STORE_UNAVAILABLE (build again).
   */
  commit(manifest: ContextManifest, options?: CallOptions): Promise<CommitResult>;
  /** Removes what this writer put unless a committed record has it. Idempotent, may be tried again; nothing to do after a commit. */
  abandon(): Promise<void>;
}

/** Opens a writer for `contextId`; end it with `commit` or `abandon`. */
export function openRecordWriter(store: BlobStore, contextId: string): RecordWriter {
  manifestKey(contextId); // refuses what is no context id
  return new StoreRecordWriter(store, contextId);
}

interface PutPart extends PartRef {
  /** After our put, when the part was not there before: ours to clear away while nobody renews it. */
  readonly ours: BlobStat | undefined;
}

class StoreRecordWriter implements RecordWriter {
  readonly #store: BlobStore;
  readonly #contextId: string;
  readonly #parts = new Map<string, Promise<PutPart>>();
  #ended = false;
  #cleared = false;

  constructor(store: BlobStore, contextId: string) {
    this.#store = store;
    this.#contextId = contextId;
  }

  async putPart(bytes: Uint8Array, options: CallOptions = {}): Promise<PartRef> {
    this.#checkOpen("put part");
    if (bytes.byteLength === 0 || bytes.byteLength > MANIFEST_LIMITS.partBytes) {
      throw new RangeError(`Cannot put part: ${bytes.byteLength} bytes, limit ${MANIFEST_LIMITS.partBytes}`);
    }
    const sha256 = sha256Hex(bytes);
    let put = this.#parts.get(sha256);
    if (put === undefined) {
      put = this.#put(sha256, bytes, options);
      this.#parts.set(sha256, put);
    }
    await put;
    return { sha256, bytes: bytes.byteLength };
  }

  async commit(manifest: ContextManifest, options: CallOptions = {}): Promise<CommitResult> {
    this.#checkOpen("commit");
    if (manifest.contextId !== this.#contextId) {
      throw new RangeError(`Cannot commit "${this.#contextId}": manifest is of "${manifest.contextId}"`);
    }
    const bytes = encodeManifest(manifest);
    const refs = manifest.layers.flatMap((layer) => layer.parts);
    await eachAtOnce(refs, (ref) => this.#checkPart(ref, options));
    const result = await this.#create(manifest, bytes, options);
    this.#ended = true;
    // What cannot be cleared away now is an orphan like any other: the sweep's.
    if (!result.created) await this.#clear(result.manifest).catch(() => undefined);
    this.#cleared = true;
    return result;
  }

  async abandon(): Promise<void> {
    if (this.#cleared) return;
    this.#ended = true;
    await this.#clear(await this.#committed());
    this.#cleared = true;
  }

  async #put(sha256: string, bytes: Uint8Array, options: CallOptions): Promise<PutPart> {
    const key = partKey(this.#contextId, sha256);
    try {
      const before = await this.#store.stat(key, options);
      await this.#store.put(key, bytes, options);
      return { sha256, bytes: bytes.byteLength, ours: before === undefined ? await this.#store.stat(key, options) : undefined };
    } catch (error) {
      this.#parts.delete(sha256); // may be put again
      throw error;
    }
  }

  async #checkPart(ref: PartRef, options: CallOptions): Promise<void> {
    const put = await this.#parts.get(ref.sha256);
    if (put?.bytes !== ref.bytes) throw new RangeError(`Cannot commit "${this.#contextId}": part "${ref.sha256}" was not put`);
    const stat = await this.#store.stat(partKey(this.#contextId, ref.sha256), options);
    if (stat?.bytes === ref.bytes) return;
    const found = stat === undefined ? "is gone" : `has ${stat.bytes} bytes of ${ref.bytes}`;
    throw new KvaultError("STORE_UNAVAILABLE", `Cannot commit "${this.#contextId}": part "${ref.sha256}" ${found}`, {
      details: { contextId: this.#contextId, part: ref.sha256 },
    });
  }

  async #create(manifest: ContextManifest, bytes: Uint8Array, options: CallOptions): Promise<CommitResult> {
    const key = manifestKey(this.#contextId);
    try {
      await this.#store.put(key, bytes, { ...options, ifAbsent: true });
      return { manifest, created: true };
    } catch (error) {
      if (!isKvaultError(error, "STORE_EXISTS")) throw error;
    }
    try {
      return { manifest: await readManifest(this.#store, this.#contextId, options), created: false };
    } catch (error) {
      // Damaged, nobody can use it; ours is whole and of the same identity.
      if (!isKvaultError(error, "CACHE_CORRUPT")) throw error;
      await this.#store.put(key, bytes, options);
      return { manifest, created: true };
    }
  }

  /** The committed manifest, when there is one; what cannot be read counts as naming everything. */
  async #committed(): Promise<ContextManifest | "unknown" | undefined> {
    try {
      return await readManifest(this.#store, this.#contextId);
    } catch (error) {
      return isKvaultError(error, "CONTEXT_NOT_FOUND") ? undefined : "unknown";
    }
  }

  async #clear(committed: ContextManifest | "unknown" | undefined): Promise<void> {
    const puts = await Promise.allSettled(this.#parts.values());
    if (committed === "unknown") return;
    const named = new Set(committed?.layers.flatMap((layer) => layer.parts.map((part) => part.sha256)));
    await eachAtOnce(puts, async (put) => {
      if (put.status === "rejected" || put.value.ours === undefined || named.has(put.value.sha256)) return;
      const key = partKey(this.#contextId, put.value.sha256);
      const now = await this.#store.stat(key);
      if (now?.modifiedMs === put.value.ours.modifiedMs) await this.#store.delete(key);
    });
  }

  #checkOpen(action: string): void {
    if (this.#ended) throw new KvaultError("CLOSED", `Cannot ${action}: record writer of "${this.#contextId}" has ended`);
  }
}
