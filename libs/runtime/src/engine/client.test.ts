import { KvaultError, toWire } from "@kvault/core";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { toyBuild, toyLoad, toyQuery } from "../testing/toy-requests.ts";
import { ENGINE_LIMITS, type EngineEvent, type OpenEngineOptions, openEngine } from "./client.ts";
import type { EngineExit, EngineProcess, EngineProcessEvents } from "./engine-process.ts";
import type { CallMessage, FromEngine, ToEngine } from "./messages.ts";
import type { Engine, EngineSnapshot, QueryAnswer, QueryEvent } from "./types.ts";

const OPTIONS = {
  storeUrl: "memory:",
  cacheDir: "/nowhere",
  offline: true,
  numThreads: 1,
  residentBytes: 1_000,
  activations: "int8",
} as const;
const REQUEST = toyBuild("text");
const CACHE = { tier: "store", reason: "FIRST_USE", bytesLoaded: 1 } as const;

/** A process that does nothing by itself: the test speaks for it. */
class ScriptedProcess implements EngineProcess {
  readonly pid: number;
  readonly heard: ToEngine[] = [];
  killed = false;
  readonly #events: EngineProcessEvents;

  constructor(pid: number, events: EngineProcessEvents) {
    this.pid = pid;
    this.#events = events;
  }

  send(message: ToEngine): void {
    this.heard.push(structuredClone(message));
  }

  kill(): void {
    this.killed = true;
    this.exit({ exitCode: undefined, exitSignal: "SIGKILL" });
  }

  say(message: FromEngine): void {
    this.#events.onMessage(structuredClone(message));
  }

  exit(exit: EngineExit = { exitCode: 1, exitSignal: undefined }): void {
    this.#events.onExit(exit);
  }

  get calls(): CallMessage[] {
    return this.heard.filter((message): message is CallMessage => message.type === "call");
  }

  get lastCallId(): number {
    return (this.calls.at(-1) as CallMessage).id;
  }
}

class Supervision {
  readonly processes: ScriptedProcess[] = [];
  readonly events: EngineEvent[] = [];
  readonly opening: Promise<Engine>;

  constructor(options: Partial<OpenEngineOptions> = {}) {
    this.opening = openEngine({
      ...OPTIONS,
      onEvent: (event) => this.events.push(event),
      spawn: (events) => {
        const child = new ScriptedProcess(100 + this.processes.length, events);
        this.processes.push(child);
        return child;
      },
      ...options,
    });
    this.opening.catch(() => undefined);
  }

  get child(): ScriptedProcess {
    return this.processes.at(-1) as ScriptedProcess;
  }

  async opened(): Promise<Engine> {
    this.child.say({ type: "ready" });
    return this.opening;
  }
}

const snapshot = (some: Partial<EngineSnapshot>): FromEngine => ({
  type: "heartbeat",
  snapshot: { residentContextIds: [], residentBytes: 0, models: [], ...some },
});

const answer: QueryAnswer = {
  type: "answer",
  text: "ab",
  finishReason: "end",
  usage: { contextTokens: 1, keptPairs: 1, questionTokens: 1, newTokens: 2 },
  timings: { queueMs: 0, loadMs: 0, ttftMs: 0, tpotMs: 0, totalMs: 0 },
  cache: CACHE,
  seed: 0,
};

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("openEngine()", () => {
  test("sends the options first and resolves when the process is ready", async () => {
    const supervision = new Supervision();
    expect(supervision.child.heard).toEqual([{ type: "open", options: OPTIONS, lostContextIds: [] }]);
    const engine = await supervision.opened();
    expect(engine.status()).toMatchObject({ health: "ready", restarts: 0, pid: 100 });
  });

  test("rejects with what the process says when it cannot open, and starts no other", async () => {
    const supervision = new Supervision();
    supervision.child.say({ type: "broken", error: toWire(new KvaultError("INVALID_ARGUMENT", "Cannot open store")) });
    supervision.child.exit();
    await expect(supervision.opening).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(supervision.processes).toHaveLength(1);
  });

  test("tries again when the first process dies without a word, up to a bound", async () => {
    const supervision = new Supervision();
    for (let i = 0; i < ENGINE_LIMITS.maxFailedStarts; i++) {
      supervision.child.exit();
      await vi.advanceTimersByTimeAsync(ENGINE_LIMITS.maxRestartMs);
    }
    await expect(supervision.opening).rejects.toMatchObject({ code: "ENGINE_DIED", details: { exitCode: 1 } });
    expect(supervision.processes).toHaveLength(ENGINE_LIMITS.maxFailedStarts);
    expect(supervision.events.at(-1)).toMatchObject({ type: "failed" });
  });
});

describe("a call", () => {
  test("is answered by the result or the error with its id, class and code kept", async () => {
    const supervision = new Supervision();
    const engine = await supervision.opened();
    const first = engine.load(toyLoad(REQUEST));
    const second = engine.evict("c1");
    const [load, evict] = supervision.child.calls;
    expect(load).toMatchObject({ method: "load", request: toyLoad(REQUEST) });
    supervision.child.say({ type: "result", id: evict.id, result: true });
    supervision.child.say({
      type: "error",
      id: load.id,
      error: toWire(new KvaultError("CACHE_CORRUPT", "bad", { details: { layer: 3 } })),
    });
    expect(await second).toBe(true);
    await expect(first).rejects.toMatchObject({ code: "CACHE_CORRUPT", details: { layer: 3 } });
    await expect(first).rejects.toBeInstanceOf(KvaultError);
  });

  test("a build is asked before its commit, and goes on or ends as the answer says", async () => {
    const supervision = new Supervision();
    const engine = await supervision.opened();
    const { child } = supervision;
    void engine.build(REQUEST, { beforeCommit: () => Promise.resolve() }).catch(() => undefined);
    child.say({ type: "event", id: child.lastCallId, event: { phase: "commit" } });
    await vi.waitFor(() => expect(child.heard).toContainEqual({ type: "proceed", id: child.lastCallId }));
    const refused = engine.build(REQUEST, { beforeCommit: () => Promise.reject(new KvaultError("ENGINE_DIED", "lease lost")) });
    child.say({ type: "event", id: child.lastCallId, event: { phase: "commit" } });
    await expect(refused).rejects.toMatchObject({ code: "ENGINE_DIED", message: "lease lost" });
    expect(child.heard.at(-1)).toEqual({ type: "cancel", id: child.lastCallId });
  });

  test("reports progress", async () => {
    const supervision = new Supervision();
    const engine = await supervision.opened();
    const progress: unknown[] = [];
    const build = engine.build(REQUEST, { onProgress: (event) => progress.push(event) });
    const { lastCallId: id } = supervision.child;
    supervision.child.say({ type: "event", id, event: { phase: "prefill", done: 1, total: 2 } });
    supervision.child.say({ type: "error", id, error: toWire(new KvaultError("TOKEN_LIMIT", "long")) });
    await expect(build).rejects.toMatchObject({ code: "TOKEN_LIMIT" });
    expect(progress).toEqual([{ phase: "prefill", done: 1, total: 2 }]);
  });

  test("aborted before it starts never reaches the process", async () => {
    const supervision = new Supervision();
    const engine = await supervision.opened();
    await expect(engine.load(toyLoad(REQUEST), { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "CANCELLED" });
    expect(supervision.child.calls).toEqual([]);
  });

  test("aborted on the way rejects at once and tells the process, whose acknowledgement ends it", async () => {
    const supervision = new Supervision();
    const engine = await supervision.opened();
    const controller = new AbortController();
    const build = engine.build(REQUEST, { signal: controller.signal });
    expect(engine.status().runningBuilds).toBe(1);
    controller.abort(new KvaultError("DEADLINE_EXCEEDED", "late"));
    await expect(build).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    const { lastCallId: id } = supervision.child;
    expect(supervision.child.heard.at(-1)).toEqual({ type: "cancel", id });
    expect(engine.status().runningBuilds).toBe(1);
    supervision.child.say({ type: "error", id, error: toWire(new KvaultError("CANCELLED", "stopped")) });
    expect(engine.status().runningBuilds).toBe(0);
    await vi.advanceTimersByTimeAsync(ENGINE_LIMITS.cancelAckMs + 5_000);
    expect(supervision.child.killed).toBe(false);
  });

  test("whose cancellation goes unheard gets its process killed", async () => {
    const supervision = new Supervision();
    const engine = await supervision.opened();
    const controller = new AbortController();
    const build = engine.build(REQUEST, { signal: controller.signal });
    controller.abort();
    await expect(build).rejects.toMatchObject({ code: "CANCELLED" });
    const [first] = supervision.processes;
    for (let waitedMs = 0; waitedMs < ENGINE_LIMITS.cancelAckMs; waitedMs += 1_000) {
      expect(first.killed).toBe(false);
      first.say(snapshot({}));
      await vi.advanceTimersByTimeAsync(1_000);
    }
    await vi.advanceTimersByTimeAsync(2_000);
    expect(first.killed).toBe(true);
    expect(supervision.events.at(-1)).toMatchObject({ type: "died", reason: expect.stringContaining("cancelled build") });
  });
});

describe("a death", () => {
  test("rejects every call under way, with how it happened, and starts another process", async () => {
    const supervision = new Supervision();
    const engine = await supervision.opened();
    const calls = [engine.build(REQUEST), engine.load(toyLoad(REQUEST))];
    supervision.child.exit({ exitCode: undefined, exitSignal: "SIGKILL" });
    for (const call of calls) {
      await expect(call).rejects.toMatchObject({ code: "ENGINE_DIED", retryable: true, details: { exitSignal: "SIGKILL" } });
    }
    expect(engine.status()).toMatchObject({ health: "restarting", pid: undefined });
    await vi.advanceTimersByTimeAsync(ENGINE_LIMITS.restartMs);
    expect(supervision.processes).toHaveLength(2);
    supervision.child.say({ type: "ready" });
    expect(engine.status()).toMatchObject({ health: "ready", restarts: 1, pid: 101 });
  });

  test("lets calls that come meanwhile wait for the next process", async () => {
    const supervision = new Supervision();
    const engine = await supervision.opened();
    supervision.child.exit();
    const load = engine.load(toyLoad(REQUEST));
    await vi.advanceTimersByTimeAsync(ENGINE_LIMITS.restartMs);
    expect(supervision.child.calls).toEqual([]);
    supervision.child.say({ type: "ready" });
    supervision.child.say({ type: "result", id: supervision.child.lastCallId, result: CACHE });
    expect(await load).toEqual(CACHE);
  });

  test("tells the next process what was resident", async () => {
    const supervision = new Supervision();
    const engine = await supervision.opened();
    supervision.child.say(snapshot({ residentContextIds: ["c1", "c2"], residentBytes: 7 }));
    expect(engine.status()).toMatchObject({ residentBytes: 7 });
    supervision.child.exit();
    expect(engine.status()).toMatchObject({ residentBytes: 0, residentContextIds: [] });
    await vi.advanceTimersByTimeAsync(ENGINE_LIMITS.restartMs);
    expect(supervision.child.heard[0]).toMatchObject({ lostContextIds: ["c1", "c2"] });
    supervision.child.say({ type: "ready" });
    supervision.child.say(snapshot({ residentContextIds: ["c1"] }));
    supervision.child.exit();
    await vi.advanceTimersByTimeAsync(ENGINE_LIMITS.maxRestartMs);
    expect(supervision.child.heard[0]).toMatchObject({ lostContextIds: ["c2", "c1"] });
  });

  test("after death waits longer each time, and starts over once a process has proved stable", async () => {
    const supervision = new Supervision();
    await supervision.opened();
    const delays: number[] = [];
    const dieAndMeasure = async (): Promise<void> => {
      const before = supervision.processes.length;
      supervision.child.exit();
      let waitedMs = 0;
      while (supervision.processes.length === before) {
        await vi.advanceTimersByTimeAsync(50);
        waitedMs += 50;
      }
      delays.push(waitedMs);
      supervision.child.say({ type: "ready" });
    };
    for (let i = 0; i < 9; i++) await dieAndMeasure();
    expect(delays).toEqual([100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
    await vi.advanceTimersByTimeAsync(ENGINE_LIMITS.stableMs);
    delays.length = 0;
    await dieAndMeasure();
    expect(delays).toEqual([100]);
  });

  test("again and again before it is ready makes the engine failed: calls are refused as not retryable", async () => {
    const supervision = new Supervision();
    const engine = await supervision.opened();
    supervision.child.exit();
    const waiting = engine.load(toyLoad(REQUEST));
    waiting.catch(() => undefined);
    for (let i = 0; i < ENGINE_LIMITS.maxFailedStarts; i++) {
      await vi.advanceTimersByTimeAsync(ENGINE_LIMITS.maxRestartMs);
      supervision.child.exit();
    }
    expect(engine.status().health).toBe("failed");
    for (const call of [waiting, engine.evict("c1")]) {
      await expect(call).rejects.toMatchObject({ code: "ENGINE_DIED", retryable: false });
    }
    const count = supervision.processes.length;
    await vi.advanceTimersByTimeAsync(600_000);
    expect(supervision.processes).toHaveLength(count);
  });
});

describe("a silent process", () => {
  test("is killed, and its calls rejected, only after the bound", async () => {
    const supervision = new Supervision();
    const engine = await supervision.opened();
    const build = engine.build(REQUEST);
    build.catch(() => undefined);
    await vi.advanceTimersByTimeAsync(ENGINE_LIMITS.hungAfterMs - 2_000);
    expect(supervision.processes[0].killed).toBe(false);
    await vi.advanceTimersByTimeAsync(4_000);
    expect(supervision.processes[0].killed).toBe(true);
    await expect(build).rejects.toMatchObject({ code: "ENGINE_DIED", message: expect.stringContaining("sign of life") });
  });

  test("is not blamed for a supervisor that itself was suspended", async () => {
    const supervision = new Supervision();
    await supervision.opened();
    await vi.advanceTimersByTimeAsync(1_000);
    vi.setSystemTime(Date.now() + 3_600_000);
    const nowMs = vi.spyOn(performance, "now").mockReturnValue(performance.now() + 3_600_000);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(supervision.processes[0].killed).toBe(false);
    nowMs.mockRestore();
  });
});

describe("a query", () => {
  const collect = async (events: AsyncIterable<QueryEvent>): Promise<QueryEvent[]> => {
    const all: QueryEvent[] = [];
    for await (const event of events) all.push(event);
    return all;
  };

  test("streams deltas, then the answer", async () => {
    const supervision = new Supervision();
    const engine = await supervision.opened();
    const events = collect(engine.query(toyQuery(REQUEST, "?")));
    const { lastCallId: id } = supervision.child;
    supervision.child.say({ type: "event", id, event: { type: "delta", text: "a", tokenIds: [1] } });
    await vi.advanceTimersByTimeAsync(0);
    supervision.child.say({ type: "event", id, event: { type: "delta", text: "b", tokenIds: [2] } });
    supervision.child.say({ type: "result", id, result: answer });
    expect(await events).toEqual([
      { type: "delta", text: "a", tokenIds: [1] },
      { type: "delta", text: "b", tokenIds: [2] },
      answer,
    ]);
  });

  test("is cancelled when the reader leaves the loop", async () => {
    const supervision = new Supervision();
    const engine = await supervision.opened();
    const left = (async () => {
      for await (const _ of engine.query(toyQuery(REQUEST, "?"))) break;
    })();
    const { lastCallId: id } = supervision.child;
    supervision.child.say({ type: "event", id, event: { type: "delta", text: "a", tokenIds: [1] } });
    await left;
    expect(supervision.child.heard.at(-1)).toEqual({ type: "cancel", id });
  });

  test("gives what was streamed before a death, then ENGINE_DIED", async () => {
    const supervision = new Supervision();
    const engine = await supervision.opened();
    const reader = engine.query(toyQuery(REQUEST, "?"))[Symbol.asyncIterator]();
    const first = reader.next();
    const { lastCallId: id } = supervision.child;
    supervision.child.say({ type: "event", id, event: { type: "delta", text: "a", tokenIds: [1] } });
    supervision.child.exit();
    expect((await first).value).toEqual({ type: "delta", text: "a", tokenIds: [1] });
    await expect(reader.next()).rejects.toMatchObject({ code: "ENGINE_DIED" });
  });

  test("is cancelled when its reader does not keep up", async () => {
    const supervision = new Supervision({ limits: { deltas: { unreadTokens: 10, stalledMs: 60_000 } } });
    const engine = await supervision.opened();
    const reader = engine.query(toyQuery(REQUEST, "?"))[Symbol.asyncIterator]();
    const first = reader.next();
    const { lastCallId: id } = supervision.child;
    for (let i = 0; i < 13; i++) {
      supervision.child.say({ type: "event", id, event: { type: "delta", text: "x", tokenIds: [i] } });
      await vi.advanceTimersByTimeAsync(0);
    }
    await first;
    expect(supervision.child.heard.at(-1)).toEqual({ type: "cancel", id });
    await reader.next();
    await expect(reader.next()).rejects.toMatchObject({ code: "CANCELLED", details: { unreadTokens: 11 } });
  });
});

describe("close()", () => {
  test("rejects what runs, asks the process to end, and is idempotent", async () => {
    const supervision = new Supervision();
    const engine = await supervision.opened();
    const build = engine.build(REQUEST);
    build.catch(() => undefined);
    const closed = engine.close();
    expect(engine.close()).toBe(closed);
    await expect(build).rejects.toMatchObject({ code: "CLOSED" });
    expect(supervision.child.heard.at(-1)).toEqual({ type: "close" });
    supervision.child.exit({ exitCode: 0, exitSignal: undefined });
    await closed;
    await expect(engine.load(toyLoad(REQUEST))).rejects.toMatchObject({ code: "CLOSED" });
    expect(supervision.processes).toHaveLength(1);
    expect(engine.status().health).toBe("closed");
  });

  test("kills a process that does not end", async () => {
    const supervision = new Supervision();
    const engine = await supervision.opened();
    const closed = engine.close();
    await vi.advanceTimersByTimeAsync(ENGINE_LIMITS.closeMs);
    await closed;
    expect(supervision.child.killed).toBe(true);
  });

  test("while no process runs starts none", async () => {
    const supervision = new Supervision();
    const engine = await supervision.opened();
    supervision.child.exit();
    await engine.close();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(supervision.processes).toHaveLength(1);
  });
});
