import { mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { withFileLock } from "./file-lock.ts";

let folder: string;
let lockPath: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "lock-"));
  lockPath = join(folder, "x.lock");
});
afterEach(() => rm(folder, { recursive: true }));

describe("withFileLock()", () => {
  test("lets one holder in at a time", async () => {
    let inside = 0;
    let most = 0;
    const hold = (): Promise<void> =>
      withFileLock(lockPath, { waitMs: 10_000 }, async () => {
        most = Math.max(most, ++inside);
        await new Promise((resolve) => setImmediate(resolve));
        inside--;
      });
    await Promise.all([hold(), hold(), hold()]);
    expect(most).toBe(1);
    expect(await readdir(folder)).toEqual([]);
  });

  test("takes over a lock that nobody has touched for long", async () => {
    await writeFile(lockPath, "a process that was killed");
    const past = new Date(Date.now() - 60_000);
    await utimes(lockPath, past, past);
    const racers = [0, 1, 2].map((i) => withFileLock(lockPath, { waitMs: 10_000 }, async () => i));
    expect(await Promise.all(racers)).toEqual([0, 1, 2]);
    expect(await readdir(folder)).toEqual([]);
  });

  test("gives up on a live holder after the wait it was given, as a retryable error", async () => {
    await writeFile(lockPath, "a process that works");
    let looks = 0;
    const attempt = withFileLock(lockPath, { waitMs: 0, onWait: () => looks++ }, async () => undefined);
    await expect(attempt).rejects.toMatchObject({ code: "MODEL_UNAVAILABLE", retryable: true });
    expect(await readdir(folder)).toEqual(["x.lock"]);
  });

  test("stops waiting when its signal says so", async () => {
    await writeFile(lockPath, "a process that works");
    const stop = new AbortController();
    const attempt = withFileLock(
      lockPath,
      { waitMs: 60_000, signal: stop.signal, onWait: () => stop.abort() },
      async () => undefined,
    );
    await expect(attempt).rejects.toMatchObject({ code: "CANCELLED" });
  });

  test("frees the lock when the work fails, and leaves one that was taken over", async () => {
    await expect(withFileLock(lockPath, { waitMs: 0 }, () => Promise.reject(new Error("the work failed")))).rejects.toThrow(
      "the work failed",
    );
    expect(await readdir(folder)).toEqual([]);
    await withFileLock(lockPath, { waitMs: 0 }, () => writeFile(lockPath, "another holder"));
    expect(await readdir(folder)).toEqual(["x.lock"]);
  });
});
