/**
 * URL → store. A new backend is one file in backends/ and one line here. What speaks to
 * another machine is loaded when it is asked for, and stands behind a circuit breaker.
 *
 * @module
 */
import path from "node:path";
import { fileURLToPath } from "node:url";
import { invalidArgument } from "@kvault/core";
import { openFilesystemStore } from "./backends/filesystem.ts";
import { openMemoryStore } from "./backends/memory.ts";
import type { BlobStore } from "./blob-store.ts";
import { circuitBreaker } from "./circuit-breaker.ts";

const OPENERS: ReadonlyMap<string, (url: string) => Promise<BlobStore>> = new Map([
  ["file:", (url: string) => openFilesystemStore(directoryOf(url))],
  ["memory:", async () => openMemoryStore()],
  ["redis:", openRedis],
  ["rediss:", openRedis],
  ["s3:", openS3],
]);

/**
 * Opens `file:/path`, `file:relative`, `file:///path`, `memory:` (a new store each time),
 * `redis://…` (backends/redis.ts) or `s3://…` (backends/s3.ts); INVALID_ARGUMENT for any other scheme.
 */
export async function openStore(url: string): Promise<BlobStore> {
  const scheme = /^[a-z][a-z0-9+.-]*:/.exec(url)?.[0] ?? "";
  const open = OPENERS.get(scheme);
  if (open === undefined) {
    const known = [...OPENERS.keys()].join(" ");
    // Only the scheme is repeated: the rest of a store URL may hold a password.
    throw invalidArgument("storeUrl", `Cannot open store of scheme "${scheme}": known schemes are ${known}`, {
      found: scheme,
      known,
    });
  }
  return open(url);
}

async function openRedis(url: string): Promise<BlobStore> {
  const { openRedisStore } = await import("./backends/redis.ts");
  return circuitBreaker(await openRedisStore(url));
}

async function openS3(url: string): Promise<BlobStore> {
  const { openS3Store } = await import("./backends/s3.ts");
  return circuitBreaker(await openS3Store(url));
}

/** `file://…` is a URL with escapes; after a bare `file:` comes a path as the shell would take it. */
function directoryOf(url: string): string {
  if (url.startsWith("file://")) {
    try {
      return fileURLToPath(url);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw invalidArgument("storeUrl", `Cannot open store "${url}": ${reason}`, { found: url });
    }
  }
  const directory = url.slice("file:".length);
  if (directory === "") throw invalidArgument("storeUrl", 'Cannot open store "file:": no directory named', { found: url });
  return path.resolve(directory);
}
