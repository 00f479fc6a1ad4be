/**
 * The keys of each tenant, wrapped by a master key, in the store:
 *
 *   v1/keys/<tenant>.json               the first one; when the tenant is deleted, a tombstone
 *   v1/keys/<tenant>/<number>.json      those that came after it by rotation: the highest seals
 *   v1/keys/<tenant>/deleted.json       the tenant is deleted
 *
 * A key is created only if nobody else has created that number, and never changes but for its
 * wrapping, so rotating at once or being killed in the middle loses no key that has sealed
 * anything. Earlier keys open what they sealed until all of it is sealed anew (reseal-records.ts).
 *
 * Deleting a tenant marks it first and takes every key then. From the mark on nobody opens what
 * they sealed, wherever copies of the sealed bytes may be, and no late builder makes a new key for
 * it; whoever writes a key looks for the mark afterwards. Keep this folder out of backups that
 * outlive a deletion, or a restore brings the keys back with the bytes.
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
const NUMBER_DIGITS = 8;
const TENANT = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
/** Another writer may come between reading and creating; once it has, there is a key. */
const MAX_TRIES = 3;

const schema = z.strictObject({
  schema: z.literal(SCHEMA),
  tenant: z.string().regex(TENANT),
  /** True of the first one when it was taken away after a rotation. */
  retired: z.literal(true).optional(),
  /** When it began to seal; absent: with the first record. */
  sinceMs: z.int().min(0).optional(),
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

export interface TenantKeys {
  /** Seals from now on. */
  readonly current: TenantKey;
  /** Open what they sealed; the current one is among them. */
  readonly byId: ReadonlyMap<string, TenantKey>;
}

/** The key that seals for the tenant, made when there is none. STORE_FORBIDDEN when the tenant was deleted or the master key is not here. */
export async function obtainTenantKey(
  store: BlobStore,
  tenant: string,
  masters: MasterKeys,
  call: CallOptions = {},
): Promise<TenantKey> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const newest = (await readKeyFiles(store, tenant, call)).at(-1);
    if (newest !== undefined) return unwrap(newest.file, masters);
    const fresh = newKey();
    try {
      await store.put(keyOf(tenant, 0), encode(wrap(tenant, fresh, masters)), { ...call, ifAbsent: true });
    } catch (error) {
      if (!isKvaultError(error, "STORE_EXISTS")) throw error;
      continue;
    }
    await shredIfDeleted(store, tenant, call);
    return fresh;
  }
  throw comesAndGoes(tenant);
}

/** The tenant's keys; STORE_FORBIDDEN when there is none, the tenant was deleted, or the master key of the current one is not here. */
export async function findTenantKeys(
  store: BlobStore,
  tenant: string,
  masters: MasterKeys,
  call: CallOptions = {},
): Promise<TenantKeys> {
  const files = await readKeyFiles(store, tenant, call);
  const newest = files.at(-1);
  if (newest === undefined) throw forbidden(tenant, "its key is gone");
  const current = unwrap(newest.file, masters);
  // One whose master key is not here opens nothing here.
  const opened = files.flatMap(({ file }) => (masters.byId.has(file.key?.masterKeyId ?? "") ? [unwrap(file, masters)] : []));
  return { current, byId: new Map(opened.map((key) => [key.id, key])) };
}

/** Makes another key that seals for the tenant from now on. STORE_FORBIDDEN when it has none or was deleted. */
export async function rotateTenantKey(
  store: BlobStore,
  tenant: string,
  masters: MasterKeys,
  call: CallOptions & { readonly nowMs?: number } = {},
): Promise<TenantKey> {
  const { nowMs = Date.now(), ...options } = call;
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const newest = (await readKeyFiles(store, tenant, options)).at(-1);
    if (newest === undefined) throw forbidden(tenant, "it has none: nothing was sealed for it");
    const fresh = newKey();
    try {
      const file = encode({ ...wrap(tenant, fresh, masters), sinceMs: nowMs });
      await store.put(keyOf(tenant, newest.number + 1), file, { ...options, ifAbsent: true });
    } catch (error) {
      if (!isKvaultError(error, "STORE_EXISTS")) throw error;
      continue;
    }
    await shredIfDeleted(store, tenant, options);
    return fresh;
  }
  throw comesAndGoes(tenant);
}

/**
 * Takes away the tenant's earlier keys that sealed nothing since `beforeMs`; how many. Only when
 * nothing that they sealed is left: it cannot be opened any more.
 */
export async function retireTenantKeys(
  store: BlobStore,
  tenant: string,
  beforeMs: number,
  call: CallOptions = {},
): Promise<number> {
  const files = await readKeyFiles(store, tenant, call);
  let retired = 0;
  for (const [i, { number }] of files.slice(0, -1).entries()) {
    if ((files[i + 1]?.file.sinceMs ?? Number.POSITIVE_INFINITY) > beforeMs) continue;
    // The first one's place must stay taken, or a builder would make a new first key.
    if (number === 0) await store.put(keyOf(tenant, 0), encode({ schema: SCHEMA, tenant, retired: true }), call);
    else await store.delete(keyOf(tenant, number), call);
    retired++;
  }
  return retired;
}

/** Makes everything that the tenant's keys sealed unreadable for ever. Idempotent; needs no master key. */
export async function shredTenantKey(store: BlobStore, tenant: string, call: CallOptions = {}): Promise<void> {
  const tombstone = encode({ schema: SCHEMA, tenant });
  await store.put(markOf(tenant), tombstone, call);
  await store.put(keyOf(tenant, 0), tombstone, call);
  for await (const name of store.list(folderOf(tenant), call)) if (name !== markOf(tenant)) await store.delete(name, call);
}

/** Wraps every tenant's keys with the current master key; returns how many were wrapped by another one. Parts stay as they are. */
export async function rewrapTenantKeys(store: BlobStore, masters: MasterKeys, call: CallOptions = {}): Promise<number> {
  let rewrapped = 0;
  for await (const name of store.list(KEYS_PREFIX, call)) {
    const tenant = /^([a-z0-9-]+)(?:\.json|\/\d+\.json)$/.exec(name.slice(KEYS_PREFIX.length))?.[1];
    if (tenant === undefined) continue;
    const file = await readKeyFile(store, name, tenant, call);
    if (file?.key === undefined || file.key.masterKeyId === masters.currentId) continue;
    if (await isDeleted(store, tenant, call)) {
      await shredTenantKey(store, tenant, call);
      continue;
    }
    await store.put(name, encode({ ...file, ...wrap(tenant, unwrap(file, masters), masters) }), call);
    await shredIfDeleted(store, tenant, call);
    rewrapped++;
  }
  return rewrapped;
}

/** Deleted while a key was written: it goes as well. STORE_FORBIDDEN then. */
async function shredIfDeleted(store: BlobStore, tenant: string, call: CallOptions): Promise<void> {
  if (!(await isDeleted(store, tenant, call))) return;
  await shredTenantKey(store, tenant, call);
  throw forbidden(tenant, "the tenant was deleted");
}

async function isDeleted(store: BlobStore, tenant: string, call: CallOptions): Promise<boolean> {
  return (await store.stat(markOf(tenant), call)) !== undefined;
}

interface NumberedFile {
  readonly number: number;
  readonly file: KeyFile;
}

/** Files with a key, earliest first; none when there was never one. STORE_FORBIDDEN when the tenant was deleted. */
async function readKeyFiles(store: BlobStore, tenant: string, call: CallOptions): Promise<readonly NumberedFile[]> {
  const numbers = [0];
  for await (const name of store.list(folderOf(tenant), call)) {
    if (name === markOf(tenant)) throw forbidden(tenant, "the tenant was deleted");
    const digits = /\/(\d+)\.json$/.exec(name)?.[1];
    if (digits !== undefined) numbers.push(Number(digits));
  }
  const files: NumberedFile[] = [];
  for (const number of numbers) {
    const file = await readKeyFile(store, keyOf(tenant, number), tenant, call);
    if (number === 0 && file !== undefined && file.key === undefined && file.retired !== true) {
      throw forbidden(tenant, "the tenant was deleted");
    }
    if (file?.key !== undefined) files.push({ number, file });
  }
  return files;
}

async function readKeyFile(store: BlobStore, name: string, tenant: string, call: CallOptions): Promise<KeyFile | undefined> {
  let bytes: Uint8Array;
  try {
    bytes = await store.get(name, call);
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

function newKey(): TenantKey {
  return { id: randomBytes(8).toString("hex"), key: randomBytes(KEY_BYTES) };
}

/** Place of the tenant's first key (0), or of the one after so many rotations. */
function keyOf(tenant: string, number: number): string {
  return number === 0
    ? `${folderOf(tenant).slice(0, -1)}.json`
    : `${folderOf(tenant)}${`${number}`.padStart(NUMBER_DIGITS, "0")}.json`;
}

function markOf(tenant: string): string {
  return `${folderOf(tenant)}deleted.json`;
}

function folderOf(tenant: string): string {
  if (!TENANT.test(tenant)) throw new RangeError("Cannot name a tenant's key: it is no tenant id");
  return `${KEYS_PREFIX}${tenant}/`;
}

function comesAndGoes(tenant: string): KvaultError {
  return new KvaultError("STORE_UNAVAILABLE", `Cannot make a key for tenant "${tenant}": others make one at the same time`, {
    details: { tenant },
  });
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
