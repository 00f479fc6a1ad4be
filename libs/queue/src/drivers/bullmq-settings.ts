/**
 * What the URL of a Redis queue says, and whether that Redis can be trusted with jobs.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";

/** What ioredis and BullMQ both take. */
interface RedisConnection {
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

export interface BullmqSettings {
  readonly queueName: string;
  /** Before every key in Redis. */
  readonly prefix: string;
  /** Bound on each call but waiting ones. */
  readonly timeoutMs: number;
  /** How long a worker that falls silent keeps its job; renewed three times within it. */
  readonly lockMs: number;
  /** How often jobs of silent workers are looked for. With `lockMs` less than the 15 s after which a worker counts as gone. */
  readonly stalledMs: number;
  /** How often one job may lose its worker. */
  readonly maxStalled: number;
  readonly connection: RedisConnection;
}

const NAMES = ["queue", "prefix", "timeoutMs", "lockMs", "stalledMs", "maxStalled"];

/**
 * Reads `redis://[user:password@]host[:port][/database][?queue=builds&prefix=kvault&timeoutMs=10000
 * &lockMs=10000&stalledMs=2500&maxStalled=2]`, or `rediss://` for TLS; INVALID_ARGUMENT for anything else.
 */
export function parseQueueUrl(url: string): BullmqSettings {
  // No part of the URL is repeated but single settings: it may hold a password.
  if (!URL.canParse(url)) throw refused("the URL cannot be parsed");
  const parsed = new URL(url);
  for (const name of parsed.searchParams.keys()) {
    if (!NAMES.includes(name)) throw refused(`unknown setting "${name}", known are ${NAMES.join(" ")}`);
  }
  const database = /^\/?(\d{0,4})$/.exec(parsed.pathname)?.[1];
  if (database === undefined) throw refused(`"${parsed.pathname.slice(0, 80)}" is not a database number`);
  return {
    queueName: nameSetting(parsed, "queue", "builds"),
    prefix: nameSetting(parsed, "prefix", "kvault"),
    timeoutMs: numberSetting(parsed, "timeoutMs", 10_000, 1, 600_000),
    lockMs: numberSetting(parsed, "lockMs", 10_000, 100, 3_600_000),
    stalledMs: numberSetting(parsed, "stalledMs", 2_500, 50, 3_600_000),
    maxStalled: numberSetting(parsed, "maxStalled", 2, 0, 100),
    connection: {
      host: parsed.hostname.replace(/^\[|\]$/g, "") || "127.0.0.1",
      port: parsed.port === "" ? 6379 : Number(parsed.port),
      db: Number(database),
      ...(parsed.username === "" ? {} : { username: decodeURIComponent(parsed.username) }),
      ...(parsed.password === "" ? {} : { password: decodeURIComponent(parsed.password) }),
      ...(parsed.protocol === "rediss:" ? { tls: {} } : {}),
      connectTimeout: 3_000,
      maxRetriesPerRequest: null,
      retryStrategy: (times) => Math.min(50 * 2 ** Math.min(times, 6), 2_000),
    },
  };
}

/** INVALID_ARGUMENT when Redis, by its own `INFO memory`, would drop jobs to save memory. */
export function refuseEviction(info: string): void {
  const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1] ?? "unknown";
  if (policy === "noeviction") return;
  throw refused(`its maxmemory-policy is "${policy}", so Redis would drop jobs behind our back; set "noeviction"`);
}

function nameSetting(url: URL, name: string, fallback: string): string {
  const value = url.searchParams.get(name) ?? fallback;
  if (!/^[a-z0-9_-]{1,64}$/.test(value)) throw refused(`setting "${name}" is not 1 to 64 of a-z 0-9 _ -`);
  return value;
}

function numberSetting(url: URL, name: string, fallback: number, min: number, max: number): number {
  const text = url.searchParams.get(name);
  if (text === null) return fallback;
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw refused(`setting "${name}" is "${text.slice(0, 80)}", not a number from ${min} to ${max}`);
}

function refused(why: string): Error {
  return invalidArgument("queueUrl", `Cannot open Redis queue: ${why}`);
}
