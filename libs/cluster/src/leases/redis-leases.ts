/**
 * Leases in Redis: `SET NX PX` and a counter of tokens, in one script.
 *
 * The counter outlives the leases, so tokens only grow while Redis keeps its data. Read leases are
 * a sorted set per name, by the time they run out (Redis's clock, so nobody else's counts).
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import type { ClusterRedis } from "../redis/cluster-redis.ts";
import { HeldLease, type LeaseBackend } from "./held-lease.ts";
import type { Lease, Leases } from "./leases.ts";

/** Tokens that were lost in between are no harm; a lease that a lost answer took runs out. */
const ACQUIRE = `
if redis.call("EXISTS", KEYS[1]) == 1 then return 0 end
local token = redis.call("INCR", KEYS[2])
redis.call("SET", KEYS[1], token, "PX", ARGV[1])
return token`;

const RENEW = `
if redis.call("GET", KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call("PEXPIRE", KEYS[1], ARGV[2])`;

const RELEASE = `
if redis.call("GET", KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call("DEL", KEYS[1])`;

const NOW = `
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)`;

const READ = `${NOW}
redis.call("ZREMRANGEBYSCORE", KEYS[1], "-inf", now)
redis.call("ZADD", KEYS[1], now + ARGV[2], ARGV[1])
if redis.call("PTTL", KEYS[1]) < tonumber(ARGV[2]) then redis.call("PEXPIRE", KEYS[1], ARGV[2]) end
return 1`;

const READERS = `${NOW}
redis.call("ZREMRANGEBYSCORE", KEYS[1], "-inf", now)
return redis.call("ZCARD", KEYS[1])`;

export class RedisLeases implements Leases, LeaseBackend {
  readonly #redis: ClusterRedis;
  readonly #held = new Set<HeldLease>();
  #closing: Promise<void> | undefined;

  /** Owns `redis`. */
  constructor(redis: ClusterRedis) {
    this.#redis = redis;
  }

  async acquire(name: string, { ttlMs }: { readonly ttlMs: number }): Promise<Lease | undefined> {
    const askedMs = performance.now();
    const token = await this.#eval(
      `get lease "${name}"`,
      ACQUIRE,
      [this.#leaseKey(name), this.#redis.key("lease-tokens")],
      [ttlMs],
    );
    if (token === 0) return undefined;
    for (const lease of this.#held) if (lease.lost.aborted) this.#held.delete(lease);
    const lease = new HeldLease(this, name, token, ttlMs, askedMs);
    this.#held.add(lease);
    return lease;
  }

  async renew(name: string, token: number, ttlMs: number): Promise<boolean> {
    return (await this.#eval(`renew lease "${name}"`, RENEW, [this.#leaseKey(name)], [token, ttlMs])) === 1;
  }

  async release(name: string, token: number): Promise<void> {
    for (const lease of this.#held) if (lease.token === token) this.#held.delete(lease);
    await this.#eval(`release lease "${name}"`, RELEASE, [this.#leaseKey(name)], [token]);
  }

  async read(name: string, { ttlMs }: { readonly ttlMs: number }): Promise<() => Promise<void>> {
    const key = this.#redis.key("readers", name);
    const reader = randomUUID();
    await this.#eval(`read "${name}"`, READ, [key], [reader, ttlMs]);
    return async () => {
      // One that cannot be told runs out by itself.
      await this.#redis.ask(`end reading "${name}"`, (redis) => redis.zrem(key, reader)).catch(() => undefined);
    };
  }

  readers(name: string): Promise<number> {
    return this.#eval(`count readers of "${name}"`, READERS, [this.#redis.key("readers", name)], []);
  }

  close(): Promise<void> {
    this.#closing ??= Promise.all([...this.#held].map((lease) => lease.release())).then(() => this.#redis.close());
    return this.#closing;
  }

  #leaseKey(name: string): string {
    return this.#redis.key("lease", name);
  }

  async #eval(action: string, script: string, keys: readonly string[], args: readonly (string | number)[]): Promise<number> {
    return (await this.#redis.ask(action, (redis) => redis.eval(script, keys.length, ...keys, ...args))) as number;
  }
}
