/**
 * The contract of a registry: which workers there are, and what each last said of itself.
 *
 * A worker registers once per process with a new **incarnation** and tells its state every
 * 5 s; one that is silent for 15 s is gone. An entry is the worker's whole
 * state, so a registry that lost everything is whole again after one beat. A new incarnation at an
 * address takes the place of the old one at once, and an old one that still beats is not heard.
 *
 * @module
 */

export type WorkerRole = "prefill" | "decode";

/** What a worker says of itself. Counts are of now. */
export interface WorkerLoad {
  /** Takes no new work. */
  readonly draining: boolean;
  readonly models: readonly string[];
  readonly residentContextIds: readonly string[];
  readonly residentBytes: number;
  readonly runningBuilds: number;
  readonly runningQueries: number;
  readonly engineRestarts: number;
}

export interface WorkerInfo extends WorkerLoad {
  readonly role: WorkerRole;
  /** Where others reach it: `host:port` or `unix:/path`. */
  readonly address: string;
  /** New at every process start. */
  readonly incarnation: string;
  /** Milliseconds since the epoch. */
  readonly startedMs: number;
  /** Builds or queries that it takes at the same time. */
  readonly capacity: number;
}

/** A worker that is registered. */
export interface Registration {
  /** Tells the state now, ahead of the next beat. Never rejects: a registry that is away is told later. */
  beat(): Promise<void>;
  /** Signs off. Idempotent; never rejects. */
  close(): Promise<void>;
}

export interface WorkerRegistry {
  /** Signs a worker on; `load` is asked at every beat. Resolves after the first one, whether it got through or not. */
  register(worker: Omit<WorkerInfo, keyof WorkerLoad>, load: () => WorkerLoad): Promise<Registration>;
  /** Workers that were heard of within 15 s, by role, then address. */
  list(): Promise<readonly WorkerInfo[]>;
  /** Signs everybody off who registered here. Idempotent. */
  close(): Promise<void>;
}

export interface RegistryOptions {
  /** 5 s. */
  readonly beatMs?: number;
  /** 15 s; at least three beats. */
  readonly leaseMs?: number;
}

const BEAT_MS = 5_000;
const LEASE_MS = 15_000;

/** RangeError for a lease that one or two lost beats would end. */
export function completeRegistryOptions({ beatMs = BEAT_MS, leaseMs = LEASE_MS }: RegistryOptions): Required<RegistryOptions> {
  if (leaseMs >= 3 * beatMs) return { beatMs, leaseMs };
  throw new RangeError(`Cannot open registry: a lease of ${leaseMs} ms is shorter than three beats of ${beatMs} ms`);
}

/** Whether `next` may take the place of `found` at an address: the same process, or a later one. */
export function mayReplace(found: WorkerInfo, next: WorkerInfo): boolean {
  return found.incarnation === next.incarnation || found.startedMs <= next.startedMs;
}

export function compareWorkers(a: WorkerInfo, b: WorkerInfo): number {
  const [left, right] = [`${a.role} ${a.address}`, `${b.role} ${b.address}`];
  return left < right ? -1 : left > right ? 1 : 0;
}
