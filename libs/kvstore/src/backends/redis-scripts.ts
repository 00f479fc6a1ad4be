/**
 * What a Redis store changes, each change one atomic script.
 *
 * A value is one hash: `id` (names this writing of it), `bytes`, `ms` (when, by the server's
 * clock) and its chunks `0`, `1`, …. Value and index entry change together or not at all, so
 * the index lists exactly what there is; in the append-only file a script is one transaction.
 * A script that ran already (its reply was lost) sees its own `id` and says so again. Redis
 * refuses a script for want of memory at its first write only, and only if that write may need
 * memory: so ZADD comes first.
 *
 * @module
 */

/** What the put scripts return. */
const PUT_DONE = 1;
export const PUT_TAKEN = 0;
export const PUT_STAGING_LOST = -1;

const BEGIN = `
local id = redis.call('HGET', KEYS[1], 'id')
if id == ARGV[3] then return ${PUT_DONE} end
if ARGV[1] == '1' and id then return ${PUT_TAKEN} end`;

const ENTER = `
redis.call('ZADD', KEYS[2], 0, ARGV[2])
redis.call('UNLINK', KEYS[1])`;

const END = `
local now = redis.call('TIME')
local ms = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
redis.call('HSET', KEYS[1], 'id', ARGV[3], 'bytes', ARGV[4], 'ms', ms)
return ${PUT_DONE}`;

interface RedisScript {
  readonly numberOfKeys: number;
  readonly lua: string;
}

export const REDIS_SCRIPTS: Record<keyof RedisScriptCommands, RedisScript> = {
  /** KEYS value, index; ARGV ifAbsent, key, id, bytes, the only chunk. */
  kvaultPut: {
    numberOfKeys: 2,
    lua: `${BEGIN}${ENTER}
redis.call('HSET', KEYS[1], '0', ARGV[5])${END}`,
  },
  /** Stage a chunk for `kvaultPutStaged`. KEYS staging; ARGV chunk number, chunk, seconds to live. */
  kvaultStage: {
    numberOfKeys: 1,
    lua: `
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return redis.call('EXPIRE', KEYS[1], ARGV[3])`,
  },
  /** KEYS value, index, staging; ARGV ifAbsent, key, id, bytes, number of chunks. */
  kvaultPutStaged: {
    numberOfKeys: 3,
    lua: `${BEGIN}
if redis.call('HLEN', KEYS[3]) ~= tonumber(ARGV[5]) then return ${PUT_STAGING_LOST} end${ENTER}
redis.call('RENAME', KEYS[3], KEYS[1])
redis.call('PERSIST', KEYS[1])${END}`,
  },
  /** KEYS value, index; ARGV key. */
  kvaultDelete: {
    numberOfKeys: 2,
    lua: `
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('UNLINK', KEYS[1])`,
  },
};

/** The commands that ioredis makes of {@link REDIS_SCRIPTS}. */
export interface RedisScriptCommands {
  kvaultPut(
    value: string,
    index: string,
    ifAbsent: 0 | 1,
    key: string,
    id: string,
    bytes: number,
    chunk: Buffer,
  ): Promise<number>;
  kvaultStage(staging: string, number: number, chunk: Buffer, seconds: number): Promise<number>;
  kvaultPutStaged(
    ...args: [
      value: string,
      index: string,
      staging: string,
      ifAbsent: 0 | 1,
      key: string,
      id: string,
      bytes: number,
      chunks: number,
    ]
  ): Promise<number>;
  kvaultDelete(value: string, index: string, key: string): Promise<number>;
}
