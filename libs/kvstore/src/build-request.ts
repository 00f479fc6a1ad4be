/**
 * What a build is made of, kept in the store while the build waits and runs: queues carry a
 * reference to it, never the text.
 *
 *   v1/builds/<contextId>/<buildId>.bin
 *
 * One blob per start of a build, so that no other build's end removes it; what a gateway that
 * died leaves is garbage after a grace time.
 *
 * @module
 */
import { invalidArgument, isKvaultError, KvaultError, sha256Hex } from "@kvault/core";
import type { BlobStore, CallOptions } from "./blob-store.ts";
import { isContextId } from "./identity.ts";

/** Names the blob and what must be in it. */
export interface BuildRequestRef {
  readonly key: string;
  readonly sha256: string;
  readonly bytes: number;
}

/** One start of a build. */
interface BuildName {
  readonly contextId: string;
  readonly buildId: string;
}

/** Folder of all build requests. */
export const BUILD_REQUESTS_PREFIX = "v1/builds/";

const BUILD_ID = /^[0-9a-f-]{1,64}$/;

/** Puts the request of one start of a build. */
export async function putBuildRequest(
  store: BlobStore,
  { contextId, buildId }: BuildName,
  bytes: Uint8Array,
  options: CallOptions = {},
): Promise<BuildRequestRef> {
  const key = keyOf(contextId, buildId);
  await store.put(key, bytes, options);
  return { key, sha256: sha256Hex(bytes), bytes: bytes.byteLength };
}

/** The bytes that were put; CONTEXT_NOT_FOUND when they are gone (deleted or collected), CACHE_CORRUPT when they are others. */
export async function readBuildRequest(store: BlobStore, ref: BuildRequestRef, options: CallOptions = {}): Promise<Uint8Array> {
  if (!ref.key.startsWith(BUILD_REQUESTS_PREFIX)) {
    throw invalidArgument("key", `Cannot read build request: "${ref.key.slice(0, 80)}" is none`);
  }
  const bytes = await store.get(ref.key, options).catch((cause: unknown) => {
    if (!isKvaultError(cause, "STORE_NOT_FOUND")) throw cause;
    throw new KvaultError("CONTEXT_NOT_FOUND", `Cannot build: its request "${ref.key}" is gone`, {
      details: { key: ref.key },
      cause,
    });
  });
  const found = sha256Hex(bytes);
  if (found === ref.sha256) return bytes;
  throw new KvaultError("CACHE_CORRUPT", `Cannot build: its request "${ref.key}" hashes to "${found}"`, {
    details: { key: ref.key, expected: ref.sha256, found },
  });
}

/** Removes the request of a build that is over. Idempotent. */
export async function deleteBuildRequest(store: BlobStore, { contextId, buildId }: BuildName): Promise<void> {
  await store.delete(keyOf(contextId, buildId));
}

function keyOf(contextId: string, buildId: string): string {
  if (isContextId(contextId) && BUILD_ID.test(buildId)) return `${BUILD_REQUESTS_PREFIX}${contextId}/${buildId}.bin`;
  throw invalidArgument("buildId", "Cannot name build request: not a context id and a build id");
}
