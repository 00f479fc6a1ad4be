/**
 * One Redis that the processes of a cluster share: a connection with deadlines, and names of
 * keys under one prefix.
 *
 * A call waits for a broken connection to come back, but no longer than its deadline: then it is
 * UNREACHABLE, and may have been done all the same. Every script here can be repeated safely.
 *
 * @module
 */
import { invalidArgument, KvaultError } from "@kvault/core";
import { Redis } from "ioredis";

const CONNECT_MS = 3_000;
const DEFAULT_TIMEOUT_MS = 5_000;
const SETTINGS = ["prefix", "timeoutMs"];

interface Connection {
  readonly host: string;
  readonly port: number;
  readonly db: number;
  readonly username?: string;
  readonly password?: string;
  readonly tls?: object;
  readonly connectTimeout: number;
  /** Calls wait for Redis to come back; their own deadline ends that. */
  readonly maxRetriesPerRequest: null;
  readonly retryStrategy: (times: number) => number;
}

export class ClusterRedis {
  readonly #prefix: string;
  readonly #timeoutMs: number;
  readonly #options: Connection;
  readonly #redis: Redis;
  #closed = false;

  /** `redis://[user:password@]host[:port][/database][?prefix=kvault&timeoutMs=5000]`, or `rediss://`; INVALID_ARGUMENT for anything else. */
  constructor(url: string) {
    const parsed = parse(url);
    this.#prefix = parsed.prefix;
    this.#timeoutMs = parsed.timeoutMs;
    this.#options = parsed.options;
    this.#redis = this.connect();
  }

  /** The name of a key: `kvault:part:part`. */
  key(...parts: readonly string[]): string {
    return [this.#prefix, ...parts].join(":");
  }

  /** False while the connection is broken or not made yet. */
  get isUp(): boolean {
    return this.#redis.status === "ready";
  }

  /** What `call` gives; UNREACHABLE after the deadline, CLOSED after {@link close}. `action` goes into the message: "Cannot …". */
  async ask<T>(action: string, call: (redis: Redis) => Promise<T>): Promise<T> {
    if (this.#closed) throw new KvaultError("CLOSED", `Cannot ${action}: the connection to Redis is closed`);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const why = `Cannot ${action}: Redis gave no answer in ${this.#timeoutMs} ms`;
      timer = setTimeout(() => reject(new KvaultError("UNREACHABLE", why)), this.#timeoutMs);
    });
    try {
      return await Promise.race([call(this.#redis), late]);
    } catch (error) {
      if (error instanceof KvaultError) throw error;
      const message = error instanceof Error ? error.message : String(error);
      throw new KvaultError(this.#closed ? "CLOSED" : "UNREACHABLE", `Cannot ${action}: ${message}`, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  /** Another connection, for commands that block; the caller's to disconnect. */
  connect(): Redis {
    const redis = new Redis(this.#options);
    // A broken connection is told by the calls that needed it.
    redis.on("error", () => undefined);
    return redis;
  }

  /** Idempotent. */
  close(): void {
    this.#closed = true;
    this.#redis.disconnect();
  }
}

function parse(url: string): { readonly prefix: string; readonly timeoutMs: number; readonly options: Connection } {
  // No part of the URL is repeated but single settings: it may hold a password.
  if (!URL.canParse(url)) throw refused("the URL cannot be parsed");
  const parsed = new URL(url);
  if (!/^rediss?:$/.test(parsed.protocol)) throw refused(`scheme "${parsed.protocol}" is not redis: or rediss:`);
  for (const name of parsed.searchParams.keys()) {
    if (!SETTINGS.includes(name)) throw refused(`unknown setting "${name}", known are ${SETTINGS.join(" ")}`);
  }
  const database = /^\/?(\d{0,4})$/.exec(parsed.pathname)?.[1];
  if (database === undefined) throw refused(`"${parsed.pathname.slice(0, 80)}" is not a database number`);
  const prefix = parsed.searchParams.get("prefix") ?? "kvault";
  if (!/^[a-z0-9_-]{1,64}$/.test(prefix)) throw refused('setting "prefix" is not 1 to 64 of a-z 0-9 _ -');
  const timeout = parsed.searchParams.get("timeoutMs") ?? `${DEFAULT_TIMEOUT_MS}`;
  if (!/^[1-9]\d{0,5}$/.test(timeout)) throw refused('setting "timeoutMs" is not a number from 1 to 999999');
  return {
    prefix,
    timeoutMs: Number(timeout),
    options: {
      host: parsed.hostname.replace(/^\[|\]$/g, "") || "127.0.0.1",
      port: parsed.port === "" ? 6379 : Number(parsed.port),
      db: Number(database),
      ...(parsed.username === "" ? {} : { username: decodeURIComponent(parsed.username) }),
      ...(parsed.password === "" ? {} : { password: decodeURIComponent(parsed.password) }),
      ...(parsed.protocol === "rediss:" ? { tls: {} } : {}),
      connectTimeout: CONNECT_MS,
      maxRetriesPerRequest: null,
      retryStrategy: (times) => Math.min(50 * 2 ** Math.min(times, 6), 2_000),
    },
  };
}

function refused(why: string): Error {
  return invalidArgument("url", `Cannot open the cluster's Redis: ${why}`);
}
