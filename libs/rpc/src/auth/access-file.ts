/**
 * The access file: tenants with their salts and quotas, and the hashes of their tokens. JSON that
 * only the servers and their administrator may read; written whole, under another name, and then
 * renamed, so that a reader sees the old file or the new one.
 *
 * @module
 */
import { randomBytes } from "node:crypto";
import { open, readFile, rename, rm, stat } from "node:fs/promises";
import { KvaultError } from "@kvault/core";
import { z } from "zod";
import { DEFAULT_TENANT, isTenantId, ROLES, type Role } from "./principal.ts";
import { createToken } from "./token.ts";

/** Far above what one file should hold. */
const MAX_TENANTS = 10_000;
const MAX_TOKENS = 100_000;
const MAX_FILE_BYTES = 64 * 2 ** 20;
/** A change that takes longer was killed. */
const STALE_LOCK_MS = 10_000;

/** Amounts a tenant may use; absent: no limit. */
export interface Quotas {
  /** Bytes of stored parts. */
  readonly storedBytes?: number | undefined;
  readonly contexts?: number | undefined;
  readonly requestsPerSecond?: number | undefined;
  /** Tokens read from questions and inline texts, and tokens generated. */
  readonly tokensPerSecond?: number | undefined;
}

interface TenantEntry {
  /** 64 hex digits; "" for the tenant of servers without tokens. */
  readonly salt: string;
  readonly createTimeMs: number;
  /** Set when the tenant is deleted: its tokens, contexts and key are void. */
  readonly deleteTimeMs?: number | undefined;
  readonly quotas?: Quotas | undefined;
}

export interface TokenEntry {
  readonly id: string;
  readonly tenant: string;
  readonly role: Role;
  /** Hex, of the whole token. */
  readonly sha256: string;
  readonly createTimeMs: number;
  /** 0: never. */
  readonly expireTimeMs: number;
  readonly revokeTimeMs?: number | undefined;
  /** For people. */
  readonly note: string;
}

export interface AccessFile {
  readonly version: 1;
  readonly tenants: Readonly<Record<string, TenantEntry>>;
  readonly tokens: readonly TokenEntry[];
}

const timeMs: z.ZodType<number> = z.int().min(0);
const amount: z.ZodType<number> = z.number().positive().max(Number.MAX_SAFE_INTEGER);
const tenantId: z.ZodType<string, string> = z.string().refine(isTenantId, "not a tenant id");

const quotas: z.ZodType<Quotas> = z.strictObject({
  storedBytes: amount.optional(),
  contexts: amount.optional(),
  requestsPerSecond: amount.optional(),
  tokensPerSecond: amount.optional(),
});

const tenant: z.ZodType<TenantEntry> = z.strictObject({
  salt: z.string().regex(/^(?:[0-9a-f]{64})?$/, "not 64 lower-case hex digits"),
  createTimeMs: timeMs,
  deleteTimeMs: timeMs.optional(),
  quotas: quotas.optional(),
});

const token: z.ZodType<TokenEntry> = z.strictObject({
  id: z.string().regex(/^[0-9a-f]{16}$/, "not a token id"),
  tenant: tenantId,
  role: z.enum(ROLES),
  sha256: z.string().regex(/^[0-9a-f]{64}$/, "not 64 lower-case hex digits"),
  createTimeMs: timeMs,
  expireTimeMs: timeMs,
  revokeTimeMs: timeMs.optional(),
  note: z.string().max(256),
});

const schema: z.ZodType<AccessFile> = z
  .strictObject({
    version: z.literal(1),
    tenants: z.record(z.string(), tenant),
    tokens: z.array(token).max(MAX_TOKENS),
  })
  .refine(({ tenants }) => Object.keys(tenants).every(isTenantId), "not a tenant id")
  .refine(({ tenants }) => Object.keys(tenants).length <= MAX_TENANTS, `over ${MAX_TENANTS} tenants`)
  .refine(({ tokens }) => new Set(tokens.map(({ id }) => id)).size === tokens.length, "a token id twice")
  .refine(({ tenants, tokens }) => tokens.every((entry) => entry.tenant in tenants), "a token of an unknown tenant");

const EMPTY: AccessFile = { version: 1, tenants: {}, tokens: [] };

/** INVALID_ARGUMENT saying where `text` is not an access file. Its values, hashes and salts, are in no message. */
export function parseAccessFile(text: string): AccessFile {
  if (text.length > MAX_FILE_BYTES) throw invalid(`over ${MAX_FILE_BYTES} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalid("not JSON");
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw invalid(`${issue?.path.join(".") || "file"}: ${issue?.message}`);
}

/** The file's content; an empty one when there is none yet. */
export async function readAccessFile(path: string): Promise<AccessFile> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw invalid(error.message);
  });
  return text === undefined ? EMPTY : parseAccessFile(text);
}

/** Reads, changes and replaces the file (mode 600); one change at a time. */
export async function changeAccessFile(path: string, change: (file: AccessFile) => AccessFile): Promise<AccessFile> {
  const next = `${path}.next`;
  const before = await stat(next).catch(() => undefined);
  if (before !== undefined && Date.now() - before.mtimeMs > STALE_LOCK_MS) await rm(next, { force: true });
  const handle = await open(next, "wx", 0o600).catch((error: NodeJS.ErrnoException) => {
    throw invalid(error.code === "EEXIST" ? "another change is under way, try again" : error.message);
  });
  try {
    const file = parseAccessFile(JSON.stringify(change(await readAccessFile(path))));
    await handle.writeFile(`${JSON.stringify(file, undefined, 2)}\n`);
    await handle.sync();
    await handle.close();
    await rename(next, path);
    return file;
  } catch (error) {
    await handle.close().catch(() => undefined);
    await rm(next, { force: true });
    throw error;
  }
}

/** `file` with `id` in it. The tenant of servers without tokens has no salt, so that its contexts keep their names. */
export function withTenant(file: AccessFile, id: string, nowMs: number): AccessFile {
  if (!isTenantId(id))
    throw new KvaultError("INVALID_ARGUMENT", `Cannot use "${id.slice(0, 80)}" as a tenant: a-z 0-9 and inner hyphens, 1 to 63`, {
      details: { field: "tenant" },
    });
  const found = file.tenants[id];
  if (found?.deleteTimeMs !== undefined) throw invalid(`tenant "${id}" was deleted, its name is not given again`);
  if (found !== undefined) return file;
  const salt = id === DEFAULT_TENANT ? "" : randomBytes(32).toString("hex");
  return { ...file, tenants: { ...file.tenants, [id]: { salt, createTimeMs: nowMs } } };
}

export interface TokenRequest extends Pick<TokenEntry, "tenant" | "role" | "expireTimeMs" | "note"> {
  readonly nowMs: number;
}

/** `file` with one more token, and the token itself: the only time that it is seen. */
export function withNewToken(
  file: AccessFile,
  { nowMs, ...request }: TokenRequest,
): { file: AccessFile; id: string; token: string } {
  const { id, token: secret, sha256 } = createToken();
  const known = withTenant(file, request.tenant, nowMs);
  return { file: { ...known, tokens: [...known.tokens, { id, sha256, createTimeMs: nowMs, ...request }] }, id, token: secret };
}

/** `file` with token `id` revoked; INVALID_ARGUMENT when there is none. */
export function withoutToken(file: AccessFile, id: string, nowMs: number): AccessFile {
  if (!file.tokens.some((entry) => entry.id === id)) throw invalid(`no token "${id.slice(0, 80)}"`);
  return {
    ...file,
    tokens: file.tokens.map((entry) => (entry.id === id ? { ...entry, revokeTimeMs: entry.revokeTimeMs ?? nowMs } : entry)),
  };
}

function invalid(what: string): KvaultError {
  return new KvaultError("INVALID_ARGUMENT", `Cannot use the access file: ${what}`, { details: { field: "tokensFile" } });
}
