/**
 * Seals a tenant's records anew with its current key, so that its earlier keys can go.
 *
 * A record is sealed anew as it was published: parts first, under the digests of their new bytes,
 * then the manifest that names them, in one put; what the old one named goes when nobody reads it
 * any more. Killed at any line, a record is whole under one key or the other, and what is left over
 * is garbage like any other; the same call again goes on. Meanwhile nobody may take the record
 * away: its manifest would come back. {@link ResealOptions.alone} sees to that.
 *
 * Identity, digest and id do not know of keys: contexts stay what they are, resident or not.
 *
 * @module
 */
import { isKvaultError, sha256Hex } from "@kvault/core";
import type { BlobStore, CallOptions } from "../blob-store.ts";
import { type ContextManifest, createManifest, encodeManifest, type LayerManifest, type PartRef } from "../manifest.ts";
import { listRecords, readManifest, readPart } from "../record.ts";
import { manifestKey, partKey } from "../record-layout.ts";
import type { MasterKeys } from "./master-keys.ts";
import { openPart, sealedKeyId, sealPart } from "./sealed-part.ts";
import { findTenantKeys, retireTenantKeys, type TenantKeys } from "./tenant-keys.ts";

export interface ResealOptions extends CallOptions {
  /** Runs `work` while nobody else publishes, deletes or reseals this context. */
  alone(contextId: string, work: () => Promise<void>): Promise<void>;
  /** Resolves when nobody reads what the context's old manifest named, or must be taken for dead. */
  unread(contextId: string): Promise<void>;
  /** Earlier keys stay at least this long after their last use, and so must exceed the longest build. */
  readonly retireAfterMs: number;
  /** Ms since the epoch. Default now. */
  readonly nowMs?: number;
}

export interface ResealReport {
  readonly resealedRecords: number;
  readonly resealedParts: number;
  /** Records that could not be read: their keys, which may be any, stay. */
  readonly broken: readonly string[];
  readonly retiredKeys: number;
}

/** Seals every record of `tenant` with its current key, then takes away the keys that are not needed. */
export async function resealRecords(
  store: BlobStore,
  tenant: string,
  masters: MasterKeys,
  options: ResealOptions,
): Promise<ResealReport> {
  const call: CallOptions = { signal: options.signal };
  const keys = await findTenantKeys(store, tenant, masters, call);
  const broken: string[] = [];
  let [resealedRecords, resealedParts] = [0, 0];
  for await (const { manifest } of listRecords(store, { ...call, onBroken: (id) => broken.push(id) })) {
    const { contextId } = manifest;
    if (manifest.tenant !== tenant || manifest.encryption === undefined) continue;
    await options.alone(contextId, async () => {
      try {
        const parts = await resealRecord(store, contextId, keys, options);
        resealedParts += parts;
        if (parts > 0) resealedRecords++;
      } catch (error) {
        if (isKvaultError(error, "CONTEXT_NOT_FOUND")) return; // deleted meanwhile
        if (!isKvaultError(error, "CACHE_CORRUPT", "INCOMPATIBLE_FORMAT", "STORE_FORBIDDEN")) throw error;
        broken.push(contextId);
      }
    });
  }
  const beforeMs = (options.nowMs ?? Date.now()) - options.retireAfterMs;
  const retiredKeys = broken.length > 0 ? 0 : await retireTenantKeys(store, tenant, beforeMs, call);
  return { resealedRecords, resealedParts, broken, retiredKeys };
}

/** How many parts were sealed anew. */
async function resealRecord(store: BlobStore, contextId: string, keys: TenantKeys, options: ResealOptions): Promise<number> {
  const call: CallOptions = { signal: options.signal };
  const before = await readManifest(store, contextId, call);
  const layers: LayerManifest[] = [];
  const old: PartRef[] = [];
  for (const [l, layer] of before.layers.entries()) {
    const parts: PartRef[] = [];
    for (const [p, ref] of layer.parts.entries()) {
      const bytes = await readPart(store, contextId, ref, call);
      const id = sealedKeyId(bytes);
      if (id === keys.current.id) {
        parts.push(ref);
        continue;
      }
      const place = { contextId, layer: l, part: p };
      const plain = openPart(bytes, keys.byId.get(id ?? "") ?? keys.current, place);
      parts.push(await putPart(store, contextId, sealPart(plain, keys.current, place), call));
      old.push(ref);
    }
    layers.push({ ...layer, parts });
  }
  if (old.length === 0) return 0;
  const after: ContextManifest = createManifest({ ...before, layers });
  await store.put(manifestKey(contextId), encodeManifest(after), call);
  await options.unread(contextId);
  const named = new Set(layers.flatMap(({ parts }) => parts.map(({ sha256 }) => sha256)));
  for (const { sha256 } of old) if (!named.has(sha256)) await store.delete(partKey(contextId, sha256), call);
  return old.length;
}

async function putPart(store: BlobStore, contextId: string, bytes: Uint8Array, call: CallOptions): Promise<PartRef> {
  const sha256 = sha256Hex(bytes);
  await store.put(partKey(contextId, sha256), bytes, call);
  return { sha256, bytes: bytes.byteLength };
}
