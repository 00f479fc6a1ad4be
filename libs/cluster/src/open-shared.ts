/**
 * URL → leases, registry or rows: `memory:` is this process, `redis://…` a cluster.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import type { Leases } from "./leases/leases.ts";
import { MemoryLeases } from "./leases/memory-leases.ts";
import { RedisLeases } from "./leases/redis-leases.ts";
import { ClusterRedis } from "./redis/cluster-redis.ts";
import { MemoryRegistry } from "./registry/memory-registry.ts";
import { RedisRegistry } from "./registry/redis-registry.ts";
import type { RegistryOptions, WorkerRegistry } from "./registry/worker-registry.ts";

export function openLeases(url: string): Leases {
  return isMemory(url) ? new MemoryLeases() : new RedisLeases(new ClusterRedis(url));
}

export function openRegistry(url: string, options: RegistryOptions = {}): WorkerRegistry {
  return isMemory(url) ? new MemoryRegistry(options) : new RedisRegistry(new ClusterRedis(url), options);
}

/** Whether `url` names this process; INVALID_ARGUMENT for neither `memory:` nor Redis. */
export function isMemory(url: string): boolean {
  if (url === "memory:") return true;
  if (/^rediss?:/.test(url)) return false;
  const scheme = url.slice(0, Math.max(0, url.indexOf(":") + 1));
  throw invalidArgument("url", `Cannot open "${scheme}": known are memory:, redis:, rediss:`, { scheme });
}
