import { checkpointsPrefix, openMemoryStore } from "@kvault/kvstore";
import { beforeEach, describe, expect, test } from "vitest";
import type { CacheRows } from "../model-runner.ts";
import { StoreCheckpoints } from "./checkpoints.ts";

const CHUNK = 8;
const SEQ_LEN = 100;
const LAYERS = 3;
const ROW = 4;
const ID = `c${"0".repeat(32)}`;

let store: ReturnType<typeof openMemoryStore>;
beforeEach(() => {
  store = openMemoryStore();
});

/** Rows whose every number is its own, or nothing yet. */
function rows(filled: boolean): CacheRows & { readonly data: Float32Array[] } {
  const data = Array.from({ length: 2 * LAYERS }, (_, buffer) =>
    Float32Array.from({ length: SEQ_LEN * ROW }, (_, i) => (filled ? buffer * 10_000 + i + 0.1 : 0)),
  );
  const view = (buffer: number, from: number, to: number): Float32Array => data[buffer].subarray(from * ROW, to * ROW);
  return {
    data,
    numLayers: LAYERS,
    seqLen: SEQ_LEN,
    rowsOf: (layer, from, to) => ({ keys: view(2 * layer, from, to), values: view(2 * layer + 1, from, to) }),
  };
}

const checkpoints = (more: { digest?: string; minTokens?: number } = {}): StoreCheckpoints =>
  new StoreCheckpoints({ store, contextId: ID, digest: "d", minTokens: 50, signal: new AbortController().signal, ...more });

/** A builder that dies once `tokens` tokens are read and kept. */
async function dieAfter(tokens: number, builder = checkpoints()): Promise<void> {
  const full = rows(true);
  for (let done = CHUNK; done <= tokens; done += CHUNK) await builder.reached(full, done, CHUNK);
}

describe("StoreCheckpoints", () => {
  test("give back the rows that were kept, bit for bit, and no others", async () => {
    await dieAfter(88);
    const [next, found] = [checkpoints(), rows(false)];
    const restored = await next.restore(found, CHUNK);
    expect(restored).toBe(88);
    expect(next.restoredTokens).toBe(restored);
    const expected = rows(true);
    for (const [buffer, numbers] of found.data.entries()) {
      expect(numbers.subarray(0, restored * ROW)).toEqual(expected.data[buffer].subarray(0, restored * ROW));
      expect(numbers.subarray(restored * ROW).every((value) => value === 0)).toBe(true);
    }
  });

  test("never cover the whole context: the last token's logits have to be computed", async () => {
    await dieAfter(96);
    expect(await checkpoints().restore(rows(false), CHUNK)).toBeLessThan(SEQ_LEN);
  });

  test("go on from what was restored", async () => {
    await dieAfter(40);
    const second = checkpoints();
    expect(await second.restore(rows(false), CHUNK)).toBe(40);
    const full = rows(true);
    for (let done = 48; done <= 80; done += CHUNK) await second.reached(full, done, CHUNK);
    expect(await checkpoints().restore(rows(false), CHUNK)).toBe(80);
  });

  test("stop before a stretch that is damaged or missing", async () => {
    await dieAfter(80);
    const meta = JSON.parse(new TextDecoder().decode(await store.get(`${checkpointsPrefix(ID)}48.json`))) as {
      layers: { sha256: string }[];
    };
    await store.put(`${checkpointsPrefix(ID)}${meta.layers[1]?.sha256}.bin`, Uint8Array.of(1));
    expect(await checkpoints().restore(rows(false), CHUNK)).toBe(40);
    await store.delete(`${checkpointsPrefix(ID)}24.json`);
    expect(await checkpoints().restore(rows(false), CHUNK)).toBe(16);
  });

  test("of another identity are not used, and short contexts get none", async () => {
    await dieAfter(80);
    expect(await checkpoints({ digest: "other" }).restore(rows(false), CHUNK)).toBe(0);
    await checkpoints().clear();
    await dieAfter(80, checkpoints({ minTokens: SEQ_LEN + 1 }));
    expect((await store.list(checkpointsPrefix(ID))[Symbol.asyncIterator]().next()).done).toBe(true);
  });

  test("that cannot be written do not stop the build", async () => {
    const full = Object.assign(Object.create(store), { put: () => Promise.reject(new Error("full")) }) as typeof store;
    const builder = new StoreCheckpoints({
      store: full,
      contextId: ID,
      digest: "d",
      minTokens: 1,
      signal: new AbortController().signal,
    });
    await dieAfter(80, builder);
    await builder.clear();
    expect(await checkpoints().restore(rows(false), CHUNK)).toBe(0);
  });
});
