/**
 * Who may come in: the access file in memory, read again when it changes.
 *
 * Absent, malformed, unknown, wrong, revoked and expired tokens are all UNAUTHENTICATED. Only who
 * has a token's secret learns that it is revoked or expired: the secret is compared first. An
 * unknown id costs the same hash and comparison as a known one.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { KvaultError } from "@kvault/core";
import type { RpcLogger } from "../rpc-logger.ts";
import { type AccessFile, parseAccessFile, type Quotas, type TokenEntry } from "./access-file.ts";
import type { Principal } from "./principal.ts";
import { matchesToken, tokenIdOf } from "./token.ts";
import { type WatchedFile, watchFiles } from "./watched-file.ts";

/** Compared with where there is no entry. */
const NOBODY = "0".repeat(64);

type RefusalReason = "absent" | "wrong" | "expired" | "revoked";

export interface AccessRegistryOptions {
  readonly log?: RpcLogger;
  /** 1 s. */
  readonly intervalMs?: number;
  readonly nowMs?: () => number;
}

interface Index {
  readonly file: AccessFile;
  readonly tokens: ReadonlyMap<string, TokenEntry>;
}

export class AccessRegistry {
  readonly #watched: WatchedFile<Index>;
  readonly #nowMs: () => number;
  readonly #listeners = new Set<() => void>();

  /** INVALID_ARGUMENT when the file at `path` cannot be used. */
  constructor(path: string, { log, intervalMs, nowMs = Date.now }: AccessRegistryOptions = {}) {
    this.#nowMs = nowMs;
    this.#watched = watchFiles({
      paths: [path],
      read: () => indexOf(path),
      onChange: () => {
        for (const listener of this.#listeners) listener();
      },
      onError: (error) => log?.error({ err: error }, "access file not taken: the one before stays in force"),
      ...(intervalMs === undefined ? {} : { intervalMs }),
    });
  }

  /** The principal of `token`; UNAUTHENTICATED with `details.reason`. */
  authenticate(token: string | undefined): Principal {
    if (token === undefined || token === "") throw refused("absent", "no token given");
    const id = tokenIdOf(token);
    const entry = id === undefined ? undefined : this.#watched.value.tokens.get(id);
    if (!matchesToken(token, entry?.sha256 ?? NOBODY) || entry === undefined) throw refused("wrong", "the token is not valid");
    const tenant = this.#watched.value.file.tenants[entry.tenant];
    if (entry.revokeTimeMs !== undefined || tenant?.deleteTimeMs !== undefined) throw refused("revoked", "the token was revoked");
    if (entry.expireTimeMs !== 0 && entry.expireTimeMs <= this.#nowMs()) throw refused("expired", "the token has expired");
    return { tenant: entry.tenant, role: entry.role, tokenId: entry.id };
  }

  /** Secret in the digests of a tenant's contexts. PERMISSION_DENIED for a tenant that is not, or no longer, known. */
  saltOf(tenant: string): string {
    const found = this.#watched.value.file.tenants[tenant];
    if (found !== undefined && found.deleteTimeMs === undefined) return found.salt;
    throw new KvaultError("PERMISSION_DENIED", `Cannot serve tenant "${tenant}": it is not known here`, { details: { tenant } });
  }

  quotasOf(tenant: string): Quotas {
    return this.#watched.value.file.tenants[tenant]?.quotas ?? {};
  }

  /** Tenants whose contexts and keys are to be gone. */
  deletedTenants(): string[] {
    return Object.entries(this.#watched.value.file.tenants).flatMap(([id, tenant]) =>
      tenant.deleteTimeMs === undefined ? [] : [id],
    );
  }

  /** Calls `listener` after every change of the file until the function it returns is called. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Reads a changed file now. */
  refresh(): void {
    this.#watched.refresh();
  }

  /** Idempotent. */
  close(): void {
    this.#watched.close();
    this.#listeners.clear();
  }
}

function indexOf(path: string): Index {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new KvaultError("INVALID_ARGUMENT", `Cannot use the access file: ${reason}`, {
      details: { field: "tokensFile" },
      cause,
    });
  }
  const file = parseAccessFile(text);
  return { file, tokens: new Map(file.tokens.map((entry) => [entry.id, entry])) };
}

function refused(reason: RefusalReason, what: string): KvaultError {
  return new KvaultError("UNAUTHENTICATED", `Cannot take the call: ${what}`, { details: { reason } });
}
