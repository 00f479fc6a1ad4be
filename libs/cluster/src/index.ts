/**
 * What the processes of a cluster share beside the store and the queue: rows that several
 * gateways change, leases of builders and readers, and which workers there are.
 *
 * @module
 */
export type { Lease, Leases } from "./leases/leases.ts";
export { type WaitForLeaseOptions, waitForLease, waitForReaders } from "./leases/wait-for-lease.ts";
export { isMemory, openLeases, openRegistry } from "./open-shared.ts";
export { type QueuedBuild, readQueuedBuild } from "./queued-build.ts";
export { ClusterRedis } from "./redis/cluster-redis.ts";
export { type PageOptions, type RowPlace, type RowPosition, type SharedRow, SharedRows } from "./redis/shared-rows.ts";
export type {
  Registration,
  RegistryOptions,
  WorkerInfo,
  WorkerLoad,
  WorkerRegistry,
  WorkerRole,
} from "./registry/worker-registry.ts";
