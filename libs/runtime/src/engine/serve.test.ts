import { KvaultError } from "@kvault/core";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { toyBuild, toyLoad } from "../testing/toy-requests.ts";
import { type FromEngine, HEARTBEAT_MS, type ToEngine } from "./messages.ts";
import { type EngineCore, type EngineHandlers, type OpenCoreOptions, serveEngine } from "./serve.ts";

const OPTIONS = {
  storeUrl: "memory:",
  cacheDir: "/nowhere",
  offline: true,
  numThreads: 1,
  residentBytes: 1_000,
  activations: "int8",
} as const;
const CACHE = { tier: "store", reason: "FIRST_USE", bytesLoaded: 1 } as const;
const SNAPSHOT = { residentContextIds: ["c1"], residentBytes: 3, models: ["toy"] };

const refuse = async (): Promise<never> => {
  throw new Error("Cannot handle: not part of this test");
};

/** A served engine whose other side is the test. */
class Served {
  readonly said: FromEngine[] = [];
  readonly exits: number[] = [];
  closed = false;
  openedWith: OpenCoreOptions | undefined;
  #hear: (message: ToEngine) => void = () => undefined;
  #disconnect: () => void = () => undefined;

  constructor(handlers: Partial<EngineHandlers> = {}, openCore?: () => Promise<EngineCore>) {
    const core: EngineCore = {
      handlers: {
        build: refuse,
        query: refuse,
        load: refuse,
        evict: refuse,
        countTokens: refuse,
        inspectContext: refuse,
        openModel: refuse,
        inspectScores: refuse,
        ...handlers,
      },
      snapshot: () => SNAPSHOT,
      close: async () => {
        this.closed = true;
      },
    };
    serveEngine(
      {
        send: (message) => void this.said.push(structuredClone(message)),
        onMessage: (listener) => {
          this.#hear = listener;
        },
        onDisconnect: (listener) => {
          this.#disconnect = listener;
        },
        exit: (code) => void this.exits.push(code),
      },
      async (options) => {
        this.openedWith = options;
        return openCore === undefined ? core : openCore();
      },
    );
  }

  hear(message: ToEngine): Promise<unknown> {
    this.#hear(message);
    return vi.advanceTimersByTimeAsync(0);
  }

  disconnect(): void {
    this.#disconnect();
  }

  async open(): Promise<void> {
    await this.hear({ type: "open", options: OPTIONS, lostContextIds: ["c9"] });
    this.said.length = 0;
  }

  /** What was said about call `id`. */
  about(id: number): FromEngine[] {
    return this.said.filter((message) => "id" in message && message.id === id);
  }
}

const load = (id: number): ToEngine => ({
  type: "call",
  id,
  method: "load",
  request: toyLoad(toyBuild("text")),
  sentAtMs: Date.now() - 7,
});

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("serveEngine()", () => {
  test("opens with the options it hears, then says it is ready", async () => {
    const served = new Served();
    await served.hear({ type: "open", options: OPTIONS, lostContextIds: ["c9"] });
    expect(served.openedWith).toEqual({ ...OPTIONS, lostContextIds: ["c9"] });
    expect(served.said).toEqual([{ type: "ready" }]);
  });

  test("says why it cannot open, then exits", async () => {
    const served = new Served({}, async () => {
      throw new KvaultError("STORE_FORBIDDEN", "Cannot open store");
    });
    await served.hear({ type: "open", options: OPTIONS, lostContextIds: [] });
    await vi.advanceTimersByTimeAsync(1);
    expect(served.said).toMatchObject([{ type: "broken", error: { code: "STORE_FORBIDDEN" } }]);
    expect(served.exits).toEqual([1]);
  });

  test("answers a call with its result, after telling what it now holds", async () => {
    const waits: number[] = [];
    const served = new Served({
      load: async (_, { waitedMs }) => {
        waits.push(waitedMs);
        return CACHE;
      },
    });
    await served.open();
    await served.hear(load(4));
    expect(served.said).toEqual([
      { type: "heartbeat", snapshot: SNAPSHOT },
      { type: "result", id: 4, result: CACHE },
    ]);
    expect(waits).toEqual([7]);
  });

  test("answers a failing call with its error, code and details kept", async () => {
    const served = new Served({
      load: async () => {
        throw new KvaultError("CACHE_CORRUPT", "bad", { details: { layer: 3 } });
      },
    });
    await served.open();
    await served.hear(load(4));
    expect(served.about(4)).toMatchObject([{ type: "error", error: { code: "CACHE_CORRUPT", details: { layer: 3 } } }]);
  });

  test("a cancel reaches its call alone and is acknowledged by its error", async () => {
    const served = new Served({
      load: (_, { signal }) =>
        new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true })),
    });
    await served.open();
    await served.hear(load(1));
    await served.hear(load(2));
    await served.hear({ type: "cancel", id: 1 });
    await served.hear({ type: "cancel", id: 77 });
    expect(served.about(1)).toMatchObject([{ type: "error", error: { code: "CANCELLED" } }]);
    expect(served.about(2)).toEqual([]);
  });

  test("beats while it is idle", async () => {
    const served = new Served();
    await served.open();
    await vi.advanceTimersByTimeAsync(3 * HEARTBEAT_MS);
    expect(served.said).toEqual(Array(3).fill({ type: "heartbeat", snapshot: SNAPSHOT }));
  });

  test("close ends every call with CLOSED, closes the core and exits", async () => {
    const served = new Served({
      load: (_, { signal }) =>
        new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true })),
    });
    await served.open();
    await served.hear(load(1));
    await served.hear({ type: "close" });
    expect(served.about(1)).toMatchObject([{ type: "error", error: { code: "CLOSED" } }]);
    expect(served.closed).toBe(true);
    expect(served.exits).toEqual([0]);
  });

  test("exits when its supervisor is gone", async () => {
    const served = new Served();
    await served.open();
    served.disconnect();
    expect(served.exits).toEqual([0]);
  });
});
