/**
 * One key per tenant, wrapped by a master key, in the store: `v1/keys/<tenant>.json`. Deleting a
 * tenant overwrites it with a tombstone. From then on nobody can open what it sealed, wherever
 * copies of the sealed bytes may be, and no late builder makes a new key for it. Keep this folder
 * out of backups that outlive a deletion, or a restore brings the key back with the bytes.
 *
 * @module
 */
import { randomBytes } from "node:crypto";
import { isKvaultError, KvaultError } from "@kvault/core";
import { z } from "zod";
import type { BlobStore, CallOptions } from "../blob-store.ts";
import { KEY_BYTES, seal, unseal } from "./envelope.ts";
import type { MasterKeys } from "./master-keys.ts";

const SCHEMA = "kvault.tenant-key/1";
const KEYS_PREFIX = "v1/keys/";
const TENANT = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
/** Another writer may come between reading and creating; once it has, there is a key. */
const MAX_TRIES = 3;

const schema = z.strictObject({
  schema: z.literal(SCHEMA),
  tenant: z.string().regex(TENANT),
  /** Absent once the tenant was deleted. */
  key: z
    .strictObject({ id: z.string().regex(/^[0-9a-f]{16}$/), masterKeyId: z.string().max(32), wrapped: z.base64().max(256) })
    .optional(),
});

type KeyFile = z.infer<typeof schema>;

export interface TenantKey {
  /** 16 hex digits, in every part that it seals. */
  readonly id: string;
  readonly key: Uint8Array;
}

/** The tenant's key, made when there is none. STORE_FORBIDDEN when the tenant was deleted or the master key is not here. */
export async function obtainTenantKey(
  store: BlobStore,
  tenant: string,
  masters: MasterKeys,
  call: CallOptions = {},
): Promise<TenantKey> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const file = await readKeyFile(store, tenant, call);
    if (file !== undefined) return unwrap(file, masters);
    const fresh: TenantKey = { id: randomBytes(8).toString("hex"), key: randomBytes(KEY_BYTES) };
    try {
      await store.put(keyOf(tenant), encode(wrap(tenant, fresh, masters)), { ...call, ifAbsent: true });
      return fresh;
    } catch (error) {
      if (!isKvaultError(error, "STORE_EXISTS")) throw error;
    }
  }
  throw new KvaultError("STORE_UNAVAILABLE", `Cannot make a key for tenant "${tenant}": it comes and goes`, {
    details: { tenant },
  });
}

/** The tenant's key; STORE_FORBIDDEN when there is none, the tenant was deleted, or the master key is not here. */
export async function findTenantKey(
  store: BlobStore,
  tenant: string,
  masters: MasterKeys,
  call: CallOptions = {},
): Promise<TenantKey> {
  const file = await readKeyFile(store, tenant, call);
  if (file === undefined) throw forbidden(tenant, "its key is gone");
  return unwrap(file, masters);
}

/** Makes everything that the tenant's key sealed unreadable for ever. Idempotent; needs no master key. */
export async function shredTenantKey(store: BlobStore, tenant: string, call: CallOptions = {}): Promise<void> {
  await store.put(keyOf(tenant), encode({ schema: SCHEMA, tenant }), call);
}

/** Wraps every tenant's key with the current master key; returns how many were wrapped by another one. Parts stay as they are. */
export async function rewrapTenantKeys(store: BlobStore, masters: MasterKeys, call: CallOptions = {}): Promise<number> {
  let rewrapped = 0;
  for await (const name of store.list(KEYS_PREFIX, call)) {
    const tenant = name.slice(KEYS_PREFIX.length).replace(/\.json$/, "");
    const file = await readKeyFile(store, tenant, call);
    if (file?.key === undefined || file.key.masterKeyId === masters.currentId) continue;
    const wrapped = wrap(tenant, unwrap(file, masters), masters);
    // A tenant that was deleted meanwhile stays deleted.
    if ((await readKeyFile(store, tenant, call))?.key === undefined) continue;
    await store.put(keyOf(tenant), encode(wrapped), call);
    rewrapped++;
  }
  return rewrapped;
}

async function readKeyFile(store: BlobStore, tenant: string, call: CallOptions): Promise<KeyFile | undefined> {
  let bytes: Uint8Array;
  try {
    bytes = await store.get(keyOf(tenant), call);
  } catch (error) {
    if (isKvaultError(error, "STORE_NOT_FOUND")) return undefined;
    throw error;
  }
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    value = undefined;
  }
  const parsed = schema.safeParse(value);
  if (parsed.success && parsed.data.tenant === tenant) return parsed.data;
  throw new KvaultError("CACHE_CORRUPT", `Cannot read the key of tenant "${tenant}": its file is damaged`, {
    details: { tenant },
  });
}

function wrap(tenant: string, { id, key }: TenantKey, { currentId, byId }: MasterKeys): KeyFile {
  const wrapped = seal(byId.get(currentId) as Uint8Array, key, aadOf(tenant, id));
  return { schema: SCHEMA, tenant, key: { id, masterKeyId: currentId, wrapped: wrapped.toString("base64") } };
}

function unwrap({ tenant, key }: KeyFile, { byId }: MasterKeys): TenantKey {
  if (key === undefined) throw forbidden(tenant, "the tenant was deleted");
  const master = byId.get(key.masterKeyId);
  if (master === undefined) throw forbidden(tenant, `master key "${key.masterKeyId}" is not here`);
  const opened = unseal(master, Buffer.from(key.wrapped, "base64"), aadOf(tenant, key.id));
  if (opened?.byteLength !== KEY_BYTES) throw forbidden(tenant, `master key "${key.masterKeyId}" does not open it`);
  return { id: key.id, key: opened };
}

function keyOf(tenant: string): string {
  if (!TENANT.test(tenant)) throw new RangeError("Cannot name a tenant's key: it is no tenant id");
  return `${KEYS_PREFIX}${tenant}.json`;
}

function aadOf(tenant: string, id: string): string {
  return `${SCHEMA} ${tenant} ${id}`;
}

function encode(file: KeyFile): Uint8Array {
  return Buffer.from(JSON.stringify(file), "utf8");
}

function forbidden(tenant: string, what: string): KvaultError {
  return new KvaultError("STORE_FORBIDDEN", `Cannot use the key of tenant "${tenant}": ${what}`, { details: { tenant } });
}
