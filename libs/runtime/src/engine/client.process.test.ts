import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openFilesystemStore } from "@kvault/kvstore";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { spawnToyEngine } from "../testing/spawn-toy-engine.ts";
import { toyBuild, toyLoad, toyQuery } from "../testing/toy-requests.ts";
import { type EngineEvent, type OpenEngineOptions, openEngine } from "./client.ts";
import type { BuildProgress, Engine, QueryAnswer, QueryEvent } from "./types.ts";

const TEXT = "The vault's combination is 7193; nobody may write it down. ".repeat(12);

let directory: string;
const engines: Engine[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kvault-engine-"));
});

afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.close();
  await rm(directory, { recursive: true, force: true });
});

async function start(options: Partial<OpenEngineOptions> = {}): Promise<{ engine: Engine; events: EngineEvent[] }> {
  const events: EngineEvent[] = [];
  const engine = await openEngine({
    storeUrl: `file:${directory}`,
    cacheDir: directory,
    offline: true,
    numThreads: 1,
    residentBytes: 64 * 1024 * 1024,
    activations: "int8",
    spawn: spawnToyEngine,
    onEvent: (event) => events.push(event),
    ...options,
  });
  engines.push(engine);
  return { engine, events };
}

async function answerOf(events: AsyncIterable<QueryEvent>): Promise<QueryAnswer> {
  for await (const event of events) {
    if (event.type === "answer") return event;
  }
  throw new Error("Cannot find the answer: the stream ended without one");
}

async function storedKeys(): Promise<string[]> {
  const store = await openFilesystemStore(directory);
  const keys: string[] = [];
  for await (const key of store.list("v1/contexts/")) keys.push(key);
  await store.close();
  return keys;
}

async function until(condition: () => boolean): Promise<void> {
  const deadlineMs = Date.now() + 15_000;
  while (!condition()) {
    if (Date.now() > deadlineMs) throw new Error("Cannot wait longer: the condition did not come true in 15 s");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

describe("an engine process", () => {
  test("builds, answers, and answers the same from another process after a restart", async () => {
    const { engine, events } = await start();
    const request = toyBuild(TEXT, "kvzip");
    const progress: BuildProgress[] = [];
    const { manifest } = await engine.build(request, { onProgress: (event) => progress.push(event) });
    expect(progress.at(-1)?.phase).toBe("publish");
    const first = await answerOf(engine.query(toyQuery(request, "which?")));
    expect(first.usage.keptPairs).toBe(manifest.report.keptPairs);
    expect(engine.status()).toMatchObject({ residentContextIds: [request.contextId], models: ["toy"] });

    process.kill(engine.status().pid as number, "SIGKILL");
    await until(() => engine.status().restarts === 1 && engine.status().health === "ready");
    const second = await answerOf(engine.query(toyQuery(request, "which?")));
    expect(second.text).toBe(first.text);
    expect(second.cache).toEqual({ tier: "store", reason: "ENGINE_RESTARTED", bytesLoaded: manifest.report.storedBytes });
    expect(events.map(({ type }) => type)).toEqual(["ready", "died", "ready"]);
  });

  test("killed during a prefill leaves no record; the build is retryable and then succeeds", async () => {
    const { engine } = await start();
    const dying = toyBuild(TEXT, "kvzip", "toy-dies-in-prefill");
    await expect(engine.build(dying)).rejects.toMatchObject({
      code: "ENGINE_DIED",
      retryable: true,
      details: { exitSignal: "SIGKILL", method: "build" },
    });
    expect(await storedKeys()).toEqual([]);
    expect((await engine.build({ ...dying, model: "toy" })).created).toBe(true);
  });

  test("killed during an answer ends the stream with ENGINE_DIED after what was streamed", async () => {
    const { engine } = await start();
    const request = toyBuild(TEXT);
    await engine.build(request);
    let streamed = "";
    const reading = (async () => {
      for await (const event of engine.query(toyQuery({ ...request, model: "toy-dies-in-answer" }, "which?"))) {
        if (event.type === "delta") streamed += event.text;
      }
    })();
    await expect(reading).rejects.toMatchObject({ code: "ENGINE_DIED", details: { method: "query" } });
    const whole = await answerOf(engine.query(toyQuery(request, "which?")));
    expect(streamed.length).toBeGreaterThan(0);
    expect(whole.text.startsWith(streamed)).toBe(true);
  });

  test("stops a cancelled build between two chunks and stays alive", async () => {
    const { engine } = await start();
    const controller = new AbortController();
    const request = toyBuild(TEXT.repeat(4), "kvzip", "toy-slow");
    const build = engine.build(request, {
      signal: controller.signal,
      onProgress: ({ phase, done }) => phase === "prefill" && done > 0 && controller.abort(),
    });
    await expect(build).rejects.toMatchObject({ code: "CANCELLED" });
    await until(() => engine.status().runningBuilds === 0);
    expect(await storedKeys()).toEqual([]);
    expect(engine.status().restarts).toBe(0);
    expect((await engine.build(toyBuild(TEXT))).created).toBe(true);
  });

  test("that hears no cancellation is killed, and another takes its place", async () => {
    const { engine, events } = await start({ limits: { cancelAckMs: 500 } });
    const build = engine.build(toyBuild(TEXT, "none", "toy-deaf"), { signal: AbortSignal.timeout(200) });
    await expect(build).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    await until(() => engine.status().restarts === 1 && engine.status().health === "ready");
    expect(events.find(({ type }) => type === "died")).toMatchObject({
      exitSignal: "SIGKILL",
      reason: expect.stringContaining("did not stop a cancelled build"),
    });
    expect((await engine.build(toyBuild(TEXT))).created).toBe(true);
  });

  test("that hangs in a run is killed, and its calls fail as retryable", async () => {
    const { engine, events } = await start({ limits: { hungAfterMs: 5_000 } });
    await expect(engine.build(toyBuild(TEXT, "none", "toy-hung"))).rejects.toMatchObject({
      code: "ENGINE_DIED",
      retryable: true,
    });
    expect(events.find(({ type }) => type === "died")).toMatchObject({ reason: expect.stringContaining("sign of life") });
  });

  test("that cannot open its store says why", async () => {
    await expect(start({ storeUrl: "gopher:somewhere" })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  test("answers the status at once while a run blocks it", async () => {
    const { engine } = await start();
    const build = engine.build(toyBuild(TEXT.repeat(4), "none", "toy-slow"));
    const startMs = performance.now();
    expect(engine.status().health).toBe("ready");
    expect(performance.now() - startMs).toBeLessThan(5);
    await build;
  });

  test("close() ends the process and is idempotent", async () => {
    const { engine } = await start();
    const { pid } = engine.status();
    const load = engine.load(toyLoad(toyBuild(TEXT)));
    load.catch(() => undefined);
    await Promise.all([engine.close(), engine.close()]);
    await expect(load).rejects.toMatchObject({ code: "CLOSED" });
    expect(() => process.kill(pid as number, 0)).toThrow(expect.objectContaining({ code: "ESRCH" }));
  });

  test("ends when its supervisor is killed", async () => {
    const supervisor = fork(new URL("../testing/toy-supervisor-main.ts", import.meta.url), [directory], {
      execArgv: ["--import", "tsx", "--conditions=kvault-source"],
      stdio: ["ignore", "ignore", 2, "ipc"],
    });
    const [pid] = (await once(supervisor, "message")) as [number];
    supervisor.kill("SIGKILL");
    await until(() => {
      try {
        process.kill(pid, 0);
        return false;
      } catch {
        return true;
      }
    });
  });
});
