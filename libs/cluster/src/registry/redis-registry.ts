/**
 * A registry in Redis: one value per role and address that runs out with its lease, and a set of
 * their names.
 *
 * Times are Redis's own: workers' clocks are compared only between two processes at one address.
 *
 * @module
 */
import { z } from "zod";
import type { ClusterRedis } from "../redis/cluster-redis.ts";
import { Beating } from "./beating.ts";
import {
  compareWorkers,
  completeRegistryOptions,
  type Registration,
  type RegistryOptions,
  type WorkerInfo,
  type WorkerLoad,
  type WorkerRegistry,
} from "./worker-registry.ts";

// KEYS entry names; ARGV name incarnation startedMs info leaseMs
const BEAT = `
local found = redis.call("HMGET", KEYS[1], "incarnation", "startedMs")
if found[1] and found[1] ~= ARGV[2] and tonumber(found[2]) > tonumber(ARGV[3]) then return 0 end
redis.call("HSET", KEYS[1], "incarnation", ARGV[2], "startedMs", ARGV[3], "info", ARGV[4])
redis.call("PEXPIRE", KEYS[1], ARGV[5])
redis.call("SADD", KEYS[2], ARGV[1])
return 1`;

// KEYS entry names; ARGV name incarnation
const SIGN_OFF = `
if redis.call("HGET", KEYS[1], "incarnation") ~= ARGV[2] then return 0 end
redis.call("DEL", KEYS[1])
redis.call("SREM", KEYS[2], ARGV[1])
return 1`;

// KEYS entry names; ARGV name
const FORGET = `
if redis.call("EXISTS", KEYS[1]) == 0 then redis.call("SREM", KEYS[2], ARGV[1]) end
return 1`;

const count = z.number().int().min(0);
const workerInfo = z.object({
  role: z.enum(["prefill", "decode"]),
  address: z.string().min(1),
  incarnation: z.string().min(1),
  startedMs: count,
  capacity: count,
  draining: z.boolean(),
  models: z.array(z.string()),
  residentContextIds: z.array(z.string()),
  residentBytes: count,
  runningBuilds: count,
  runningQueries: count,
  engineRestarts: count,
});

export class RedisRegistry implements WorkerRegistry {
  readonly #redis: ClusterRedis;
  readonly #options: Required<RegistryOptions>;
  readonly #names: string;
  readonly #registrations = new Set<Registration>();
  #closing: Promise<void> | undefined;

  /** Owns `redis`. */
  constructor(redis: ClusterRedis, options: RegistryOptions = {}) {
    this.#redis = redis;
    this.#options = completeRegistryOptions(options);
    this.#names = redis.key("workers");
  }

  async register(worker: Omit<WorkerInfo, keyof WorkerLoad>, load: () => WorkerLoad): Promise<Registration> {
    const name = `${worker.role} ${worker.address}`;
    const { incarnation, startedMs } = worker;
    const send = async (): Promise<void> => {
      const info = JSON.stringify({ ...worker, ...load() } satisfies WorkerInfo);
      await this.#eval("register worker", BEAT, name, [incarnation, startedMs, info, this.#options.leaseMs]);
    };
    const signOff = (): Promise<void> => this.#eval("sign worker off", SIGN_OFF, name, [incarnation]);
    const registration = new Beating(this.#options.beatMs, send, signOff);
    this.#registrations.add(registration);
    await registration.beat();
    return registration;
  }

  async list(): Promise<readonly WorkerInfo[]> {
    const names = await this.#redis.ask("list workers", (redis) => redis.smembers(this.#names));
    if (names.length === 0) return [];
    const entries = await this.#redis.ask("list workers", async (redis) => {
      const pipeline = redis.pipeline();
      for (const name of names) pipeline.hget(this.#entry(name), "info");
      return pipeline.exec();
    });
    const workers: WorkerInfo[] = [];
    for (const [i, name] of names.entries()) {
      const text = entries?.[i]?.[1];
      if (typeof text === "string") {
        const parsed = workerInfo.safeParse(JSON.parse(text));
        // Of a version that says other things of itself: not one we can use.
        if (parsed.success) workers.push(parsed.data);
      } else {
        await this.#eval("forget worker", FORGET, name, []);
      }
    }
    return workers.sort(compareWorkers);
  }

  close(): Promise<void> {
    this.#closing ??= Promise.all([...this.#registrations].map((registration) => registration.close())).then(() =>
      this.#redis.close(),
    );
    return this.#closing;
  }

  #entry(name: string): string {
    return this.#redis.key("worker", name);
  }

  async #eval(action: string, script: string, name: string, args: readonly (string | number)[]): Promise<void> {
    await this.#redis.ask(action, (redis) => redis.eval(script, 2, this.#entry(name), this.#names, name, ...args));
  }
}
