/** What only real processes show: SIGKILL at any line, and races between processes. */
import type { ChildProcess } from "node:child_process";
import { fork } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { createRng, decodeSafetensors } from "@kvault/core";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openFilesystemStore } from "./backends/filesystem.ts";
import { listRecords, readPart } from "./record.ts";
import { manifestKey, partKey } from "./record-layout.ts";
import { sweepOrphans } from "./sweep.ts";

let root: string;
const children: ChildProcess[] = [];

beforeEach(async () => {
  root = await fs.mkdtemp(path.join(tmpdir(), "kvault-kill-"));
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  await fs.rm(root, { recursive: true, force: true });
});

function start(script: URL): ChildProcess {
  const child = fork(fileURLToPath(script), [root], {
    cwd: fileURLToPath(new URL("..", import.meta.url)),
    execArgv: ["--import", "tsx", "--conditions=kvault-source"],
  });
  children.push(child);
  return child;
}

describe("records on a file system", () => {
  test("are whole or absent after writers were killed at random points, and no acknowledged one is lost", async () => {
    const rng = createRng(20_261_122);
    const acknowledged = new Set<string>();
    const killed = Array.from({ length: 12 }, async () => {
      const child = start(new URL("./testing/publish-until-killed.ts", import.meta.url));
      const lives = 1 + rng.below(12);
      const extraMs = rng.next() * 20;
      let told = 0;
      child.on("message", (contextId: string) => {
        acknowledged.add(contextId);
        // A random number of records, then anywhere within the next one.
        if (++told === lives) setTimeout(() => child.kill("SIGKILL"), extraMs);
      });
      const [, signal] = (await once(child, "exit")) as [number | null, string | null];
      return signal;
    });
    expect(await Promise.all(killed)).toEqual(Array.from({ length: 12 }, () => "SIGKILL"));

    const store = await openFilesystemStore(root, { staleTmpMs: -60_000 });
    expect(await fs.readdir(path.join(root, ".tmp"))).toEqual([]);
    await sweepOrphans(store, { graceMs: 0, nowMs: Date.now() + 60_000 });
    const expectedKeys: string[] = [];
    const found = new Set<string>();
    const broken: unknown[] = [];
    for await (const { manifest } of listRecords(store, { onBroken: (_id, error) => broken.push(error) })) {
      found.add(manifest.contextId);
      expectedKeys.push(manifestKey(manifest.contextId));
      for (const ref of manifest.layers.flatMap(({ parts }) => parts)) {
        expectedKeys.push(partKey(manifest.contextId, ref.sha256));
        expect(decodeSafetensors(await readPart(store, manifest.contextId, ref)).tensors.has("k")).toBe(true);
      }
    }
    expect(broken).toEqual([]);
    expect([...acknowledged].filter((contextId) => !found.has(contextId))).toEqual([]);
    const keys: string[] = [];
    for await (const key of store.list("")) keys.push(key);
    expect(keys).toEqual([...new Set(expectedKeys)].sort());
    await store.close();
  });

  test("have exactly one winner per key among processes that put if absent", async () => {
    const numKeys = 100;
    const racers = Array.from({ length: 3 }, () => start(new URL("./testing/put-if-absent.ts", import.meta.url)));
    await Promise.all(racers.map((racer) => once(racer, "message")));
    const results = racers.map((racer) => once(racer, "message"));
    for (const racer of racers) racer.send(numKeys);
    const wins = (await Promise.all(results)).flatMap(([won]) => won as number[]);
    expect(wins.sort((a, b) => a - b)).toEqual(Array.from({ length: numKeys }, (_, i) => i));
  });
});
