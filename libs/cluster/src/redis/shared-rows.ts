/**
 * Rows that several processes read and write: text under an id, changed only by those who saw
 * the row as it is, listed in an order, with news of every change.
 *
 * In Redis: a hash of `version\nvalue`, two sorted sets that change with it in one script (the
 * listing order, and when a row is due), and a stream of changed ids. News only say where to look:
 * readers of the stream that fall behind, or whose connection broke, are told to look at
 * everything again, so nothing depends on a message that may be lost.
 *
 * Versions come from one counter and are never used twice, so a row that was removed and made
 * anew is not taken for the old one.
 *
 * @module
 */
import type { Redis } from "ioredis";
import type { ClusterRedis } from "./cluster-redis.ts";

export interface SharedRow {
  /** Greater after every change of any row. */
  readonly version: number;
  readonly value: string;
  /** Both as they are stored, for {@link SharedRows.mend}. */
  readonly text: string;
}

/** Where a row stands in the listing: by `order`, then id. */
export interface RowPosition {
  readonly order: number;
  readonly id: string;
}

export interface RowPlace {
  /** Rows are listed all together, and by group. Never changes. */
  readonly group: string;
  readonly order: number;
  /** When the row is due; absent: never. */
  readonly due?: number;
}

export interface PageOptions {
  readonly limit: number;
  readonly after?: RowPosition;
  readonly group?: string;
}

/** Told the id of a changed row, or nothing when any row may have changed. */
type ChangeListener = (id: string | undefined) => void;

/** News kept for readers that were away for a moment. */
const KEPT_NEWS = 10_000;
const BLOCK_MS = 2_000;
const RETRY_MS = 200;
const NEWS_PER_READ = 500;

// KEYS rows order due news counter group; ARGV id expected value order due
const PUT = `
local found = redis.call("HGET", KEYS[1], ARGV[1])
local version = found and string.match(found, "^%d+") or "0"
if version ~= ARGV[2] then return 0 end
local new = redis.call("INCR", KEYS[5])
redis.call("HSET", KEYS[1], ARGV[1], new .. "\\n" .. ARGV[3])
redis.call("ZADD", KEYS[2], ARGV[4], ARGV[1])
redis.call("ZADD", KEYS[6], ARGV[4], ARGV[1])
if ARGV[5] == "" then redis.call("ZREM", KEYS[3], ARGV[1]) else redis.call("ZADD", KEYS[3], ARGV[5], ARGV[1]) end
redis.call("XADD", KEYS[4], "MAXLEN", "~", ${KEPT_NEWS}, "*", "id", ARGV[1])
return new`;

// KEYS as above; ARGV id expected
const REMOVE = `
local found = redis.call("HGET", KEYS[1], ARGV[1])
if not found or string.match(found, "^%d+") ~= ARGV[2] then return 0 end
redis.call("HDEL", KEYS[1], ARGV[1])
redis.call("ZREM", KEYS[2], ARGV[1])
redis.call("ZREM", KEYS[3], ARGV[1])
redis.call("ZREM", KEYS[6], ARGV[1])
redis.call("XADD", KEYS[4], "MAXLEN", "~", ${KEPT_NEWS}, "*", "id", ARGV[1])
return 1`;

// KEYS as above, and whole; ARGV id, its text, new value or "", order due
const MEND = `
if redis.call("HGET", KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call("HDEL", KEYS[1], ARGV[1])
for _, key in ipairs({KEYS[2], KEYS[3], KEYS[6]}) do redis.call("ZREM", key, ARGV[1]) end
redis.call("XADD", KEYS[4], "MAXLEN", "~", ${KEPT_NEWS}, "*", "id", ARGV[1])
if ARGV[3] == "" then redis.call("DEL", KEYS[7]) return 1 end
redis.call("HSET", KEYS[1], ARGV[1], redis.call("INCR", KEYS[5]) .. "\\n" .. ARGV[3])
redis.call("ZADD", KEYS[2], ARGV[4], ARGV[1])
redis.call("ZADD", KEYS[6], ARGV[4], ARGV[1])
if ARGV[5] ~= "" then redis.call("ZADD", KEYS[3], ARGV[5], ARGV[1]) end
return 1`;

export class SharedRows {
  readonly #redis: ClusterRedis;
  readonly #name: string;
  readonly #keys: readonly [rows: string, order: string, due: string, news: string, counter: string];
  readonly #listeners = new Set<ChangeListener>();
  #reader: Redis | undefined;
  #closed = false;

  /** `name` tells these rows from others in the same Redis. */
  constructor(redis: ClusterRedis, name: string) {
    this.#redis = redis;
    this.#name = name;
    const key = (part: string): string => redis.key(name, part);
    this.#keys = [key("rows"), key("order"), key("due"), key("news"), key("counter")];
  }

  async get(id: string): Promise<SharedRow | undefined> {
    const found = await this.#ask("read", (redis) => redis.hget(this.#keys[0], id));
    return found === null ? undefined : readRow(found);
  }

  /** Writes the row when its version is still `expected` (0: when there is none); its new version, or 0 when it was not. */
  async put(id: string, value: string, { group, order, due }: RowPlace, expected: number): Promise<number> {
    const args = [id, `${expected}`, value, `${order}`, due === undefined ? "" : `${due}`];
    return (await this.#eval(PUT, group, args)) as number;
  }

  /** Removes the row when its version is still `expected`; whether it did. */
  async remove(id: string, { group }: Pick<RowPlace, "group">, expected: number): Promise<boolean> {
    return (await this.#eval(REMOVE, group, [id, `${expected}`])) === 1;
  }

  /**
   * Puts `mended` in the place of a row that cannot be read and is still as `found`; without it the
   * row goes, and the rows are not whole any more. False when somebody changed the row meanwhile.
   */
  async mend(id: string, found: SharedRow, mended?: { readonly value: string; readonly place: RowPlace }): Promise<boolean> {
    const { group = "", order = 0, due } = mended?.place ?? {};
    const args = [id, found.text, mended?.value ?? "", `${order}`, due === undefined ? "" : `${due}`];
    return (await this.#eval(MEND, group, args, [this.#wholeKey()])) === 1;
  }

  /** At most `limit` rows of `group` (of all when absent) after `after`, in order. */
  async page({ limit, after, group }: PageOptions): Promise<readonly (SharedRow & { readonly id: string })[]> {
    const key = group === undefined ? this.#keys[1] : this.#groupKey(group);
    const from = after === undefined ? "-inf" : `${after.order}`;
    const ids: string[] = [];
    for (let offset = 0; ids.length < limit; offset += limit) {
      const found = await this.#ask("list", (redis) =>
        redis.zrangebyscore(key, from, "+inf", "WITHSCORES", "LIMIT", offset, limit),
      );
      for (let i = 0; i < found.length; i += 2) {
        const [id, order] = [found[i] as string, Number(found[i + 1])];
        const isAfter = after === undefined || order > after.order || id > after.id;
        if (isAfter && ids.length < limit) ids.push(id);
      }
      if (found.length < 2 * limit) break;
    }
    const rows = await this.#rows(ids);
    if (rows.length === ids.length) return rows;
    // Their rows were lost: a short page would look like the last one.
    const present = new Set(rows.map(({ id }) => id));
    const lost = ids.filter((id) => !present.has(id));
    await this.#ask("write", (redis) => redis.zrem(key, ...lost));
    return this.page({ limit, ...(after === undefined ? {} : { after }), ...(group === undefined ? {} : { group }) });
  }

  /** Rows that are due at `now`. */
  async due(now: number): Promise<readonly (SharedRow & { readonly id: string })[]> {
    return this.#rows(await this.#ask("list", (redis) => redis.zrangebyscore(this.#keys[2], "-inf", now)));
  }

  /** False when these rows were never marked whole, or were lost since. */
  async isWhole(): Promise<boolean> {
    return (await this.#ask("read", (redis) => redis.exists(this.#wholeKey()))) === 1;
  }

  async markWhole(): Promise<void> {
    await this.#ask("write", (redis) => redis.set(this.#wholeKey(), "1"));
  }

  /** Calls `listener` after every change by anybody, until the function it returns is called. */
  listen(listener: ChangeListener): () => void {
    this.#listeners.add(listener);
    if (this.#reader === undefined && !this.#closed) {
      this.#reader = this.#redis.connect();
      void this.#readNews(this.#reader);
    }
    return () => this.#listeners.delete(listener);
  }

  /** Ends the news. Idempotent; the Redis is its owner's to close. */
  close(): void {
    this.#closed = true;
    this.#reader?.disconnect();
    this.#listeners.clear();
  }

  async #rows(ids: readonly string[]): Promise<readonly (SharedRow & { readonly id: string })[]> {
    if (ids.length === 0) return [];
    const found = await this.#ask("list", (redis) => redis.hmget(this.#keys[0], ...ids));
    return ids.flatMap((id, i) => {
      const text = found[i];
      return text === null || text === undefined ? [] : [{ id, ...readRow(text) }];
    });
  }

  async #readNews(reader: Redis): Promise<void> {
    const news = this.#keys[3];
    let last: string | undefined;
    while (!this.#closed) {
      try {
        if (last === undefined) {
          const [newest] = await reader.xrevrange(news, "+", "-", "COUNT", 1);
          last = newest?.[0] ?? "0-0";
          // What changed before this point is not news: look.
          this.#tell(undefined);
        }
        const read = await reader.xread("COUNT", NEWS_PER_READ, "BLOCK", BLOCK_MS, "STREAMS", news, last);
        const entries = read?.[0]?.[1] ?? [];
        // A full read may hide trimmed news behind it.
        if (entries.length >= NEWS_PER_READ) this.#tell(undefined);
        else for (const [, fields] of entries) this.#tell(fields[1]);
        last = entries.at(-1)?.[0] ?? last;
      } catch {
        last = undefined;
        if (!this.#closed) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  #tell(id: string | undefined): void {
    for (const listener of this.#listeners) listener(id);
  }

  #wholeKey(): string {
    return this.#redis.key(this.#name, "whole");
  }

  #groupKey(group: string): string {
    return this.#redis.key(this.#name, "order-of", group);
  }

  #eval(script: string, group: string, args: readonly string[], moreKeys: readonly string[] = []): Promise<unknown> {
    const keys = [...this.#keys, this.#groupKey(group), ...moreKeys];
    return this.#ask("write", (redis) => redis.eval(script, keys.length, ...keys, ...args));
  }

  #ask<T>(verb: string, call: (redis: Redis) => Promise<T>): Promise<T> {
    return this.#redis.ask(`${verb} ${this.#name}`, call);
  }
}

function readRow(text: string): SharedRow {
  const end = text.indexOf("\n");
  return { version: Number(text.slice(0, end)), value: text.slice(end + 1), text };
}
