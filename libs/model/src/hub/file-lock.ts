/**
 * One writer at a time for a path, across processes and hosts that share the folder: a lock file.
 *
 * The holder touches its lock every two seconds; one untouched for ten is stale (its process was
 * killed) and is taken over: the stale file is renamed away, checked to be the very one that was
 * seen, and the usual exclusive create follows, which one contender wins.
 *
 * The lock saves work, it does not guard correctness: what is published is verified first, and a
 * holder that slept through a takeover writes the same bytes to the same places.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import { link, open, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { KvaultError, throwIfAborted } from "@kvault/core";

const TOUCH_MS = 2_000;
const STALE_MS = 10_000;
const POLL_MS = 200;

export interface LockOptions {
  readonly signal?: AbortSignal | undefined;
  /** Longest wait for another holder. */
  readonly waitMs: number;
  /** Called at every look at a lock somebody else holds. */
  readonly onWait?: () => void;
}

/** Runs `work` while holding `lockPath`. MODEL_UNAVAILABLE (retryable) when another holder outlasts `waitMs`. */
export async function withFileLock<T>(lockPath: string, options: LockOptions, work: () => Promise<T>): Promise<T> {
  const token = await acquire(lockPath, options);
  const touching = setInterval(() => {
    const now = new Date();
    utimes(lockPath, now, now).catch(() => undefined);
  }, TOUCH_MS);
  touching.unref();
  try {
    return await work();
  } finally {
    clearInterval(touching);
    if ((await readToken(lockPath)) === token) await rm(lockPath, { force: true });
  }
}

async function acquire(lockPath: string, { signal, waitMs, onWait }: LockOptions): Promise<string> {
  const token = randomUUID();
  const giveUpAt = Date.now() + waitMs;
  for (;;) {
    throwIfAborted(signal);
    if (await createLock(lockPath, token)) return token;
    if (await takeAwayIfStale(lockPath)) continue;
    if (Date.now() >= giveUpAt) {
      throw new KvaultError("MODEL_UNAVAILABLE", `Cannot take ${lockPath}: another process has held it for over ${waitMs} ms`);
    }
    onWait?.();
    // an abort is reported at the top of the loop
    await sleep(POLL_MS, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
  }
}

async function createLock(lockPath: string, token: string): Promise<boolean> {
  try {
    const handle = await open(lockPath, "wx");
    await handle.writeFile(token).finally(() => handle.close());
    return true;
  } catch (error) {
    if (hasCode(error, "EEXIST")) return false;
    throw error;
  }
}

/** True when the lock is gone and may be tried again at once. */
async function takeAwayIfStale(lockPath: string): Promise<boolean> {
  const token = await readToken(lockPath);
  const touchedMs = await stat(lockPath).then(
    ({ mtimeMs }) => mtimeMs,
    () => undefined,
  );
  if (token === undefined || touchedMs === undefined) return true;
  if (Date.now() - touchedMs <= STALE_MS) return false;
  const away = `${lockPath}.${randomUUID()}`;
  try {
    await rename(lockPath, away);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return true;
    throw error;
  }
  // between looking and renaming a new holder may have come: give it back its lock
  if ((await readToken(away)) !== token) await link(away, lockPath).catch(() => undefined);
  await rm(away, { force: true });
  return true;
}

async function readToken(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

function hasCode(error: unknown, code: string): boolean {
  return (error as NodeJS.ErrnoException).code === code;
}
