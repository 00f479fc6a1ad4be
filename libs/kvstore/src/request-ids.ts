/**
 * Ids that callers give their requests: the first request with an id takes it, and what it was is
 * kept for at least as long as garbage is (collect-garbage.ts), wherever the next one arrives.
 *
 *   v1/requests/<tenant>/<sha256 of the id>.json
 *
 * @module
 */
import { isKvaultError, KvaultError, sha256Hex } from "@kvault/core";
import { z } from "zod";
import type { BlobStore, CallOptions } from "./blob-store.ts";

/** Folder of all request ids. */
export const REQUEST_IDS_PREFIX = "v1/requests/";

const schema = z.strictObject({ schema: z.literal("kvault.request-id/1"), fingerprint: z.string().regex(/^[0-9a-f]{64}$/) });

/**
 * Takes `requestId` for the request whose SHA-256 is `fingerprint`: true when nobody had it, false
 * when the same request had. REQUEST_ID_REUSED when another request did.
 */
export async function takeRequestId(
  store: BlobStore,
  tenant: string,
  requestId: string,
  fingerprint: string,
  options: CallOptions = {},
): Promise<boolean> {
  const key = `${REQUEST_IDS_PREFIX}${tenant}/${sha256Hex(requestId)}.json`;
  const file = Buffer.from(JSON.stringify({ schema: "kvault.request-id/1", fingerprint }), "utf8");
  try {
    await store.put(key, file, { ...options, ifAbsent: true });
    return true;
  } catch (error) {
    if (!isKvaultError(error, "STORE_EXISTS")) throw error;
  }
  const found = await store.get(key, options);
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(found).toString("utf8"));
  } catch {
    // Told below.
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    throw new KvaultError("CACHE_CORRUPT", "Cannot tell what the request id was used for: its file is damaged", {
      details: { key },
    });
  }
  if (parsed.data.fingerprint === fingerprint) return false;
  throw new KvaultError("REQUEST_ID_REUSED", "Cannot create the context: another request had this request id", {
    details: { field: "request_id" },
  });
}
