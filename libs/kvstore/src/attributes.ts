/**
 * What may change of a record after it was published: names, lifetime, pin, deletion. The
 * manifest never changes; this lies beside it.
 *
 *   v1/contexts/<contextId>/attributes/<createTimeMs>-<revision>.json
 *
 * Every change is a **revision** of its own, created only if it is not there, so of many writers
 * in many processes one wins each revision and no change is lost unseen. The highest revision
 * counts; lower ones are cleared away after it and do no harm when they are not. `createTimeMs` is
 * the record's: what an earlier context of the same id left behind is older, and does not count.
 *
 * @module
 */
import { isKvaultError, KvaultError } from "@kvault/core";
import { z } from "zod";
import type { BlobStore, CallOptions } from "./blob-store.ts";
import { eachAtOnce } from "./each-at-once.ts";
import { MANIFEST_LIMITS } from "./manifest.ts";
import { attributesKey, attributesPrefix, parseRecordKey } from "./record-layout.ts";

const SCHEMA = "kvault.attributes/1";

/** Far above any that {@link putAttributes} writes. */
const MAX_BYTES = 262_144;

const LIMITS = MANIFEST_LIMITS;
const timeMs = z.int().min(0);

const schema = z.strictObject({
  schema: z.literal(SCHEMA),
  revision: z.int().min(1),
  createTimeMs: timeMs,
  updateTimeMs: timeMs,
  displayName: z.string().max(LIMITS.nameChars),
  labels: z
    .record(z.string().min(1).max(LIMITS.labelKeyChars), z.string().max(LIMITS.labelValueChars))
    .refine((labels) => Object.keys(labels).length <= LIMITS.labels, `over ${LIMITS.labels} labels`),
  expireTimeMs: timeMs,
  ttlMs: timeMs,
  refreshOnUse: z.boolean(),
  pinned: z.boolean(),
  deleteTimeMs: timeMs,
  purgeTimeMs: timeMs,
});

export interface ContextAttributes {
  /** 1 is the first change; a record as its manifest says has 0. */
  readonly revision: number;
  /** Of the record that it belongs to. */
  readonly createTimeMs: number;
  readonly updateTimeMs: number;
  readonly displayName: string;
  readonly labels: Readonly<Record<string, string>>;
  /** 0: never. */
  readonly expireTimeMs: number;
  /** Lifetime asked for last; 0: none, or a time was given. */
  readonly ttlMs: number;
  /** Every use sets the expiry to `ttlMs` later. */
  readonly refreshOnUse: boolean;
  /** Neither time nor garbage collection takes the record. */
  readonly pinned: boolean;
  /** Since when it is out of use, and until when it can be brought back; 0: it is not. */
  readonly deleteTimeMs: number;
  readonly purgeTimeMs: number;
}

/** Writes the next revision. STORE_EXISTS when somebody else has: read theirs and decide again. */
export async function putAttributes(
  store: BlobStore,
  contextId: string,
  attributes: ContextAttributes,
  options: CallOptions = {},
): Promise<void> {
  const file = { schema: SCHEMA, ...attributes };
  const parsed = schema.safeParse(file);
  if (!parsed.success) throw new RangeError(`Cannot put attributes of "${contextId}": ${parsed.error.issues[0]?.message}`);
  const key = attributesKey(contextId, attributes);
  await store.put(key, Buffer.from(JSON.stringify(parsed.data), "utf8"), { ...options, ifAbsent: true });
  const older: string[] = [];
  for await (const other of store.list(attributesPrefix(contextId), options)) {
    // Ours was there before, and cleared away: whoever writes it again has not seen what came after it.
    if (other > key) {
      await store.delete(key, options);
      throw new KvaultError("STORE_EXISTS", `Cannot put attributes of "${contextId}": there is a later revision`, {
        details: { contextId, revision: attributes.revision },
      });
    }
    if (other < key) older.push(other);
  }
  // They count no more: what stays of them when this fails goes with the next change, or with the record.
  await eachAtOnce(older, (other) => store.delete(other, options)).catch(() => undefined);
}

/** The attributes that count of a record made at `createTimeMs`; undefined when nothing was changed since. CACHE_CORRUPT when they cannot be read. */
export async function readAttributes(
  store: BlobStore,
  contextId: string,
  createTimeMs: number,
  options: CallOptions = {},
): Promise<ContextAttributes | undefined> {
  for (;;) {
    let newest: string | undefined;
    for await (const key of store.list(attributesPrefix(contextId), options)) newest = key;
    const name = newest === undefined ? undefined : parseRecordKey(newest)?.attributes;
    if (newest === undefined || name === undefined || name.createTimeMs < createTimeMs) return undefined;
    try {
      return parse(contextId, await store.get(newest, options), name);
    } catch (error) {
      // Cleared away for a newer one, which the next look finds.
      if (!isKvaultError(error, "STORE_NOT_FOUND")) throw error;
    }
  }
}

function parse(
  contextId: string,
  bytes: Uint8Array,
  name: Pick<ContextAttributes, "createTimeMs" | "revision">,
): ContextAttributes {
  let value: unknown;
  try {
    if (bytes.byteLength <= MAX_BYTES) value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    // Told below.
  }
  const parsed = schema.safeParse(value);
  if (parsed.success && parsed.data.revision === name.revision && parsed.data.createTimeMs === name.createTimeMs) {
    const { schema: _, ...attributes } = parsed.data;
    return attributes;
  }
  const found = parsed.success ? "they are of another revision" : (parsed.error.issues[0]?.message ?? "damaged");
  throw new KvaultError("CACHE_CORRUPT", `Cannot read the attributes of context "${contextId}": ${found}`, {
    details: { contextId, revision: name.revision },
  });
}
