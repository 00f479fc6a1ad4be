/**
 * A store in Redis 6 or newer: one hash per value, and an index (a sorted set) that changes
 * with it in one script.
 *
 * No command carries more than 8 MiB. A larger value is staged chunk by chunk under a name that
 * expires by itself, then renamed in one script; readers compare the value's `id` chunk by chunk
 * and begin anew when it changed, so they see a whole value or none. The store refuses a Redis
 * that evicts: an evicted part of a record is a lost record. What survives a crash of Redis is
 * what its append-only file holds.
 *
 * Every command has a deadline, and is tried again (at most three times, each a safe
 * repetition) when the connection broke. A put is not cut short once its script is sent: only
 * so can CANCELLED mean that nothing changed.
 *
 * Limits: one Redis, not a cluster (scripts span keys).
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import { invalidArgument, KvaultError, throwIfAborted } from "@kvault/core";
import { Redis } from "ioredis";
import type { BlobStat, BlobStore, CallOptions, PutOptions, StoreAbilities } from "../blob-store.ts";
import { MAX_VALUE_BYTES } from "../blob-store.ts";
import { checkedStore } from "../checked-store.ts";
import { numberSetting, parseStoreUrl } from "../store-url.ts";
import { pause, within } from "../within.ts";
import { isPassing, redisError } from "./redis-errors.ts";
import { PUT_STAGING_LOST, PUT_TAKEN, REDIS_SCRIPTS, type RedisScriptCommands } from "./redis-scripts.ts";

/** Largest chunk in one command or reply. */
const CHUNK_BYTES = 8 * 1024 * 1024;
/** Chunks of one value under way at a time. */
const CHUNKS_AT_ONCE = 4;
/** What a writer that died had staged is gone after this. */
const STAGING_SECONDS = 600;
/** Keys in one reply of a listing. */
const PAGE_KEYS = 1_000;
const MAX_ATTEMPTS = 4;
const FIRST_RETRY_MS = 100;
/** A reader that meets a new value so many times in a row gives up. */
const MAX_READS = 8;
const CONNECT_MS = 3_000;
const DEFAULT_TIMEOUT_MS = 10_000;

type Client = Redis & RedisScriptCommands;

/**
 * Opens `redis://[user:password@]host[:port][/database][?prefix=kvault&timeoutMs=10000]`, or
 * `rediss://` for TLS. INVALID_ARGUMENT when the Redis evicts, STORE_FORBIDDEN when it refuses
 * the login, STORE_UNAVAILABLE when it cannot be reached.
 */
export async function openRedisStore(url: string): Promise<BlobStore> {
  const parsed = parseStoreUrl(url, ["prefix", "timeoutMs"]);
  const prefix = parsed.searchParams.get("prefix") ?? "kvault";
  if (!/^[a-z0-9_-]{1,64}$/.test(prefix))
    throw invalidArgument("storeUrl", "Cannot open store: prefix is not 1 to 64 of a-z 0-9 _ -");
  const database = /^\/?(\d{0,4})$/.exec(parsed.pathname)?.[1];
  if (database === undefined)
    throw invalidArgument("storeUrl", `Cannot open store: "${parsed.pathname.slice(0, 80)}" is not a database number`);
  const timeoutMs = numberSetting(parsed, "timeoutMs", DEFAULT_TIMEOUT_MS, [1, 600_000]);
  const redis = new Redis({
    host: parsed.hostname.replace(/^\[|\]$/g, "") || "127.0.0.1",
    port: parsed.port === "" ? 6379 : Number(parsed.port),
    db: Number(database),
    ...(parsed.username === "" ? {} : { username: decodeURIComponent(parsed.username) }),
    ...(parsed.password === "" ? {} : { password: decodeURIComponent(parsed.password) }),
    ...(parsed.protocol === "rediss:" ? { tls: {} } : {}),
    scripts: REDIS_SCRIPTS,
    lazyConnect: true,
    connectTimeout: Math.min(CONNECT_MS, timeoutMs),
    // A line that is dead without saying so; a caller's own deadline is shorter.
    socketTimeout: 2 * timeoutMs + 1_000,
    // A call fails, and this store decides whether it is tried again.
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    enableReadyCheck: false,
    retryStrategy: (times) => Math.min(50 * 2 ** Math.min(times, 6), 2_000),
  }) as Client;
  // Calls only see that there is no connection; why is told here.
  let trouble: Error | undefined;
  redis.on("error", (error) => {
    trouble = error;
  });
  redis.on("ready", () => {
    trouble = undefined;
  });
  try {
    await within(redis.connect(), timeoutMs);
    refuseEviction(await within(redis.info("memory"), timeoutMs));
  } catch (error) {
    redis.disconnect();
    throw redisError(trouble ?? error, "open Redis store at", parsed.host);
  }
  return checkedStore(new RedisStore(redis, `${prefix}:`, timeoutMs, () => trouble));
}

function refuseEviction(info: string): void {
  const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1] ?? "unknown";
  if (policy === "noeviction") return;
  throw invalidArgument(
    "storeUrl",
    `Cannot use Redis as a store: its maxmemory-policy is "${policy}", so it would drop values behind our back; set "noeviction"`,
    { found: policy },
  );
}

class RedisStore implements BlobStore {
  readonly abilities: StoreAbilities = { durable: true, shared: true };
  readonly #redis: Client;
  readonly #prefix: string;
  readonly #timeoutMs: number;
  /** Why there is no connection at the moment. */
  readonly #trouble: () => Error | undefined;

  constructor(redis: Client, prefix: string, timeoutMs: number, trouble: () => Error | undefined) {
    this.#redis = redis;
    this.#trouble = trouble;
    this.#prefix = prefix;
    this.#timeoutMs = timeoutMs;
  }

  async put(key: string, bytes: Uint8Array, { ifAbsent = false, signal }: PutOptions = {}): Promise<void> {
    const id = randomUUID();
    const size = bytes.byteLength;
    const only = ifAbsent ? 1 : 0;
    let outcome: number;
    if (size <= CHUNK_BYTES) {
      const chunk = bufferOf(bytes);
      const put = () => this.#redis.kvaultPut(this.#value(key), this.#index(), only, key, id, size, chunk);
      outcome = await this.#change("put", key, signal, put);
    } else {
      // Saves staging a value that cannot win; the script decides.
      if (ifAbsent && (await this.stat(key, { signal })) !== undefined) throw taken(key);
      const staging = `${this.#prefix}staging:${id}`;
      const chunks = await this.#stage(staging, key, bytes, signal);
      const commit = () => this.#redis.kvaultPutStaged(this.#value(key), this.#index(), staging, only, key, id, size, chunks);
      try {
        outcome = await this.#change("put", key, signal, commit);
      } catch (error) {
        this.#forget(staging);
        throw error;
      }
      if (outcome === PUT_TAKEN) this.#forget(staging);
    }
    if (outcome === PUT_TAKEN) throw taken(key);
    if (outcome === PUT_STAGING_LOST) {
      throw new KvaultError("STORE_UNAVAILABLE", `Cannot put "${key}": staged chunks expired before all were there`, {
        details: { key },
      });
    }
  }

  async get(key: string, { signal }: CallOptions = {}): Promise<Uint8Array> {
    for (let reads = 1; reads <= MAX_READS; reads++) {
      const bytes = await this.#readWhole(key, signal);
      if (bytes !== undefined) return bytes;
    }
    throw new KvaultError("STORE_UNAVAILABLE", `Cannot get "${key}": it was replaced ${MAX_READS} times while being read`, {
      details: { key },
    });
  }

  async stat(key: string, { signal }: CallOptions = {}): Promise<BlobStat | undefined> {
    const [bytes, ms] = await this.#read("stat", key, signal, () => this.#redis.hmget(this.#value(key), "bytes", "ms"));
    if (bytes === null || bytes === undefined) return undefined;
    return { bytes: Number(bytes), modifiedMs: Number(ms) };
  }

  async delete(key: string, { signal }: CallOptions = {}): Promise<void> {
    await this.#change("delete", key, signal, () => this.#redis.kvaultDelete(this.#value(key), this.#index(), key));
  }

  async *list(prefix: string, { signal }: CallOptions = {}): AsyncGenerator<string> {
    // "0" is the character after "/".
    const end = prefix === "" ? "+" : `(${prefix.slice(0, -1)}0`;
    for (let start = prefix === "" ? "-" : `[${prefix}`; ; ) {
      const from = start;
      const page = await this.#read("list", prefix, signal, () =>
        this.#redis.zrangebylex(this.#index(), from, end, "LIMIT", 0, PAGE_KEYS),
      );
      yield* page;
      const last = page.at(-1);
      if (last === undefined || page.length < PAGE_KEYS) return;
      start = `(${last}`;
    }
  }

  async close(): Promise<void> {
    this.#redis.disconnect();
  }

  #value(key: string): string {
    return `${this.#prefix}value:${key}`;
  }

  #index(): string {
    return `${this.#prefix}index`;
  }

  /** Sends the chunks of `bytes`; how many there are. */
  async #stage(staging: string, key: string, bytes: Uint8Array, signal: AbortSignal | undefined): Promise<number> {
    const chunks = Math.ceil(bytes.byteLength / CHUNK_BYTES);
    let next = 0;
    const sendRest = async (): Promise<void> => {
      for (let i = next++; i < chunks; i = next++) {
        const chunk = bufferOf(bytes.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES));
        await this.#change("put", key, signal, () => this.#redis.kvaultStage(staging, i, chunk, STAGING_SECONDS));
      }
    };
    const sending = Array.from({ length: Math.min(CHUNKS_AT_ONCE, chunks) }, sendRest);
    const outcomes = await Promise.allSettled(sending);
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed === undefined) return chunks;
    this.#forget(staging);
    throw failed.reason;
  }

  /** Drops staged chunks early; they expire anyway. */
  #forget(staging: string): void {
    this.#redis.unlink(staging).catch(() => undefined);
  }

  /** The value of one writing, or undefined when another replaced it meanwhile. */
  async #readWhole(key: string, signal: AbortSignal | undefined): Promise<Uint8Array | undefined> {
    const value = this.#value(key);
    const [id, size, first] = await this.#read("get", key, signal, () => this.#redis.hmgetBuffer(value, "id", "bytes", "0"));
    if (id === null || id === undefined) {
      throw new KvaultError("STORE_NOT_FOUND", `Cannot get "${key}": no such key`, { details: { key } });
    }
    const bytes = Number(size?.toString());
    if (!Number.isSafeInteger(bytes) || bytes < 0 || bytes > MAX_VALUE_BYTES) throw corrupt(key, `its length is "${size}"`);
    const whole = new Uint8Array(bytes);
    const place = (chunk: Buffer | null | undefined, i: number): void => {
      const expected = Math.min(CHUNK_BYTES, bytes - i * CHUNK_BYTES);
      if (chunk?.byteLength !== expected)
        throw corrupt(key, `chunk ${i} has ${chunk?.byteLength ?? "no"} bytes, expected ${expected}`);
      whole.set(chunk, i * CHUNK_BYTES);
    };
    place(first, 0);
    const chunks = Math.ceil(bytes / CHUNK_BYTES);
    let next = 1;
    let replaced = false;
    const readRest = async (): Promise<void> => {
      for (let i = next++; i < chunks && !replaced; i = next++) {
        const [sameId, chunk] = await this.#read("get", key, signal, () => this.#redis.hmgetBuffer(value, "id", `${i}`));
        if (sameId?.equals(id) === true) place(chunk, i);
        else replaced = true;
      }
    };
    await Promise.all(Array.from({ length: Math.min(CHUNKS_AT_ONCE, chunks - 1) }, readRest));
    return replaced ? undefined : whole;
  }

  /** A command that changes nothing: an abort ends the wait at once. */
  #read<T>(action: string, key: string, signal: AbortSignal | undefined, send: () => Promise<T>): Promise<T> {
    return this.#attempt(action, key, signal, () => within(send(), this.#timeoutMs, signal));
  }

  /** A command that changes something: an abort stops it before it is sent, not after. */
  #change<T>(action: string, key: string, signal: AbortSignal | undefined, send: () => Promise<T>): Promise<T> {
    return this.#attempt(action, key, signal, () => within(send(), this.#timeoutMs));
  }

  async #attempt<T>(action: string, key: string, signal: AbortSignal | undefined, call: () => Promise<T>): Promise<T> {
    const deadlineMs = performance.now() + this.#timeoutMs;
    for (let attempt = 1; ; attempt++) {
      throwIfAborted(signal);
      try {
        return await call();
      } catch (error) {
        const waitMs = FIRST_RETRY_MS * 2 ** (attempt - 1) * (0.5 + Math.random() / 2);
        const tryAgain = isPassing(error) && attempt < MAX_ATTEMPTS && performance.now() + waitMs < deadlineMs;
        if (!tryAgain) throw redisError(isPassing(error) ? (this.#trouble() ?? error) : error, action, key);
        await pause(waitMs, signal);
      }
    }
  }
}

/** The same bytes as a Buffer, which is what ioredis sends without turning it into text. */
function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function taken(key: string): KvaultError {
  return new KvaultError("STORE_EXISTS", `Cannot put "${key}": the key is taken`, { details: { key } });
}

function corrupt(key: string, what: string): KvaultError {
  return new KvaultError("CACHE_CORRUPT", `Cannot get "${key}": ${what}`, { details: { key } });
}
