/**
 * Checkpoints of a long prefill: the raw keys and values of finished chunks, in the store, so that
 * a builder that goes on where another one died reads only what that one had not kept.
 *
 *   v1/checkpoints/<contextId>/<sha256>.bin     one layer's rows of one stretch: keys, then values, f32
 *   v1/checkpoints/<contextId>/<tokens>.json    the stretch that ends after so many tokens; written last
 *
 * A stretch is a twentieth of the context, in whole chunks and at least one. The next chunk waits
 * for it for a moment, then it travels on while that runs: a kill costs the chunk under way, and
 * over a slow store at most two stretches more. Values are kept as they are, so a resumed build is
 * bit for bit the build that was not interrupted (chunks begin where they would have). A
 * checkpoint is a convenience: one that cannot be written or read is done without.
 *
 * Bytes: `tokens · layers · K·D · 8`, for as long as the build takes. Contexts of tenants whose
 * parts are sealed get none, since these bytes are not.
 *
 * @module
 */
import { setTimeout as sleep } from "node:timers/promises";
import { alignedView, sha256Hex } from "@kvault/core";
import { type BlobStore, checkpointsPrefix } from "@kvault/kvstore";
import { z } from "zod";
import type { CacheRows, PrefillCheckpoints } from "../model-runner.ts";

/** Part of a context that one checkpoint covers. */
const STRETCH = 0.05;
/** How long the next chunk waits for what a store takes its time with. */
const PATIENCE_MS = 500;
/** Layers read at a time. */
const LAYERS_AT_ONCE = 4;
const MAX_LAYERS = 1_024;

const stretchSchema = z.strictObject({
  digest: z.string(),
  from: z.int().min(0),
  to: z.int().min(1),
  layers: z.array(z.strictObject({ sha256: z.string().regex(/^[0-9a-f]{64}$/), bytes: z.int().min(1) })).max(MAX_LAYERS),
});
type Stretch = z.infer<typeof stretchSchema>;

export interface StoreCheckpointsOptions {
  readonly store: BlobStore;
  readonly contextId: string;
  /** Of the context's identity: rows of anything else are not used. */
  readonly digest: string;
  /** Contexts of fewer tokens get none. */
  readonly minTokens: number;
  readonly signal: AbortSignal;
}

export class StoreCheckpoints implements PrefillCheckpoints {
  readonly #options: StoreCheckpointsOptions;
  #restored = 0;
  #kept = 0;
  #travelling: Promise<void> = Promise.resolve();
  #broken = false;

  constructor(options: StoreCheckpointsOptions) {
    this.#options = options;
  }

  /** Tokens that were not read again. */
  get restoredTokens(): number {
    return this.#restored;
  }

  async restore(rows: CacheRows, chunkTokens: number): Promise<number> {
    if (rows.seqLen < this.#options.minTokens) return 0;
    try {
      for (const stretch of await this.#stretches()) {
        const { from, to, layers } = stretch;
        const fits = from === this.#restored && to > from && to < rows.seqLen && to % chunkTokens === 0;
        if (!fits || layers.length !== rows.numLayers || !(await this.#fill(rows, stretch))) break;
        this.#restored = to;
      }
    } catch {
      // What cannot be read is computed again.
    }
    this.#kept = this.#restored;
    return this.#restored;
  }

  async reached(rows: CacheRows, tokens: number, chunkTokens: number): Promise<void> {
    const { minTokens } = this.#options;
    const stretch = Math.max(1, Math.floor((rows.seqLen * STRETCH) / chunkTokens)) * chunkTokens;
    if (this.#broken || rows.seqLen < minTokens || tokens >= rows.seqLen || tokens - this.#kept < stretch) return;
    const from = this.#kept;
    this.#kept = tokens;
    // One at a time, so that what is kept has no gaps.
    await this.#travelling;
    this.#travelling = this.#put(rows, from, tokens).catch(() => {
      this.#broken = true;
    });
    await Promise.race([this.#travelling, sleep(PATIENCE_MS, undefined, { ref: false })]);
  }

  /** Removes all checkpoints of the context; after its commit. Never rejects: what stays is collected as garbage. */
  async clear(): Promise<void> {
    const { store, contextId } = this.#options;
    try {
      await this.#travelling;
      for await (const key of store.list(checkpointsPrefix(contextId))) await store.delete(key);
    } catch {
      // Garbage, and found as such.
    }
  }

  async #put(rows: CacheRows, from: number, to: number): Promise<void> {
    const { store, contextId, digest, signal } = this.#options;
    const prefix = checkpointsPrefix(contextId);
    const layers: Stretch["layers"] = [];
    for (let layer = 0; layer < rows.numLayers; layer++) {
      const { keys, values } = rows.rowsOf(layer, from, to);
      const bytes = new Uint8Array(keys.byteLength + values.byteLength);
      bytes.set(new Uint8Array(keys.buffer, keys.byteOffset, keys.byteLength));
      bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), keys.byteLength);
      const sha256 = sha256Hex(bytes);
      await store.put(`${prefix}${sha256}.bin`, bytes, { signal });
      layers.push({ sha256, bytes: bytes.byteLength });
    }
    const stretch: Stretch = { digest, from, to, layers };
    await store.put(`${prefix}${to}.json`, new TextEncoder().encode(JSON.stringify(stretch)), { signal });
  }

  /** Readable stretches of this context, by where they start. */
  async #stretches(): Promise<Stretch[]> {
    const { store, contextId, digest, signal } = this.#options;
    const stretches: Stretch[] = [];
    for await (const key of store.list(checkpointsPrefix(contextId), { signal })) {
      if (!key.endsWith(".json")) continue;
      const parsed = stretchSchema.safeParse(JSON.parse(new TextDecoder().decode(await store.get(key, { signal }))));
      if (parsed.success && parsed.data.digest === digest) stretches.push(parsed.data);
    }
    return stretches.sort((a, b) => a.from - b.from);
  }

  /** Reads a stretch into its rows; false when a layer is not what it should be. */
  async #fill(rows: CacheRows, { from, to, layers }: Stretch): Promise<boolean> {
    for (let first = 0; first < layers.length; first += LAYERS_AT_ONCE) {
      const some = layers.slice(first, first + LAYERS_AT_ONCE);
      const read = await Promise.all(some.map((_, i) => this.#fillLayer(rows, first + i, from, to, layers)));
      if (read.includes(false)) return false;
    }
    return true;
  }

  async #fillLayer(rows: CacheRows, layer: number, from: number, to: number, layers: Stretch["layers"]): Promise<boolean> {
    const { store, contextId, signal } = this.#options;
    const { keys, values } = rows.rowsOf(layer, from, to);
    const { sha256, bytes: size } = layers[layer];
    if (size !== keys.byteLength + values.byteLength) return false;
    const bytes = await store.get(`${checkpointsPrefix(contextId)}${sha256}.bin`, { signal });
    if (bytes.byteLength !== size || sha256Hex(bytes) !== sha256) return false;
    const floats = alignedView(bytes, Float32Array);
    keys.set(floats.subarray(0, keys.length));
    values.set(floats.subarray(keys.length));
    return true;
  }
}
