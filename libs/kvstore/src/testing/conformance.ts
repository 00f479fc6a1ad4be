/**
 * What every blob store must do, as cases that a test file registers for its backend.
 *
 *   blobStoreConformance("memory", { open: async () => openMemoryStore() });
 *
 * A backend's declared abilities, never its name, decide what applies. The cases are data, so
 * that conformance.test.ts can run them on broken stores and see the right ones fail.
 *
 * @module
 */
import type { ErrorCode } from "@kvault/core";
import { bytesOf, isKvaultError } from "@kvault/core";
import { describe, expect, test } from "vitest";
import type { BlobStore } from "../blob-store.ts";
import { MAX_KEY_CHARS } from "../blob-store.ts";

export interface StoreFixture {
  /** A store nobody else writes to, empty. */
  open(): Promise<BlobStore>;
  /** Removes what `open` made; the store is closed before. */
  clean?(): Promise<void>;
  /** A second store over the same blobs; needed when the store says it is shared. */
  openAgain?(): Promise<BlobStore>;
}

export interface StoreCase {
  readonly name: string;
  run(store: BlobStore, fixture: StoreFixture): Promise<void>;
}

/** Registers every case as a test of `name`. */
export function blobStoreConformance(name: string, fixture: StoreFixture): void {
  describe(`${name} as a blob store`, () => {
    for (const { name: caseName, run } of BLOB_STORE_CASES) {
      test(caseName, async () => {
        const store = await fixture.open();
        try {
          await run(store, fixture);
        } finally {
          await store.close();
          await fixture.clean?.();
        }
      });
    }
  });
}

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

async function collect(keys: AsyncIterable<string>): Promise<string[]> {
  const all: string[] = [];
  for await (const key of keys) all.push(key);
  return all;
}

/** The code `promise` is refused with; fails when it is not, or with something untyped. */
async function refusal(promise: Promise<unknown>): Promise<ErrorCode> {
  const outcome = await promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if (!("error" in outcome)) return expect.fail("the call was not refused");
  return isKvaultError(outcome.error) ? outcome.error.code : expect.fail(`untyped refusal: ${String(outcome.error)}`);
}

/** `size` bytes without a period that a torn or repeated block could hide in. */
function noise(seed: number, size: number): Uint8Array {
  const words = Uint32Array.from({ length: Math.ceil(size / 4) }, (_, i) => Math.imul(i + seed, 0x9e3779b1));
  return bytesOf(words).subarray(0, size);
}

const HOSTILE_KEYS: readonly string[] = [
  "",
  "/",
  "a",
  "/a.x",
  "a/",
  "a//b.x",
  "../a.x",
  "a/../b.x",
  "a/./b.x",
  "..",
  ".x",
  "a/.x",
  "a.",
  "a..x",
  "a.b/c.x",
  ".tmp/a.x",
  "A.x",
  "a b.x",
  "a\\b.x",
  "a\0.x",
  "a\n.x",
  "a.x\n",
  "é.x",
  "a*.x",
  "%2e%2e/a.x",
  `${"a".repeat(250)}.x`,
  `${"a/".repeat(MAX_KEY_CHARS)}a.x`,
];

/** The cases of {@link blobStoreConformance}. */
export const BLOB_STORE_CASES: readonly StoreCase[] = [
  {
    name: "get() returns what put() stored",
    async run(store) {
      const bytes = noise(1, 1000);
      await store.put("a/b/c.bin", bytes);
      expect(await store.get("a/b/c.bin")).toEqual(bytes);
    },
  },
  {
    name: "put() replaces the whole value, also by a shorter one",
    async run(store) {
      await store.put("a.bin", utf8("a longer value"));
      await store.put("a.bin", utf8("short"));
      expect(await store.get("a.bin")).toEqual(utf8("short"));
      expect(await store.stat("a.bin")).toMatchObject({ bytes: 5 });
    },
  },
  {
    name: "an empty value is a value",
    async run(store) {
      await store.put("empty.bin", new Uint8Array(0));
      expect(await store.get("empty.bin")).toEqual(new Uint8Array(0));
      expect(await store.stat("empty.bin")).toMatchObject({ bytes: 0 });
      expect(await refusal(store.put("empty.bin", utf8("x"), { ifAbsent: true }))).toBe("STORE_EXISTS");
    },
  },
  {
    name: "a value of 9 MiB and an odd byte comes back whole",
    async run(store) {
      const bytes = noise(2, 9 * 1024 * 1024 + 1);
      await store.put("large.bin", bytes);
      expect(Buffer.compare(await store.get("large.bin"), bytes)).toBe(0);
      expect(await store.stat("large.bin")).toMatchObject({ bytes: bytes.byteLength });
    },
  },
  {
    name: "put() takes a view for its own bytes only",
    async run(store) {
      const whole = utf8("0123456789");
      await store.put("view.bin", whole.subarray(3, 6));
      await store.put("buffer.bin", Buffer.from("0123456789").subarray(3, 6));
      expect(await store.get("view.bin")).toEqual(utf8("345"));
      expect(await store.get("buffer.bin")).toEqual(utf8("345"));
    },
  },
  {
    name: "caller and store share no memory once a call resolved",
    async run(store) {
      const bytes = utf8("stored");
      await store.put("a.bin", bytes);
      bytes.fill(0);
      const read = await store.get("a.bin");
      expect(read).toEqual(utf8("stored"));
      read.fill(0);
      expect(await store.get("a.bin")).toEqual(utf8("stored"));
    },
  },
  {
    name: "what is missing is STORE_NOT_FOUND to get() and undefined to stat()",
    async run(store) {
      await store.put("folder/there.bin", utf8("x"));
      for (const key of ["missing.bin", "folder/missing.bin", "no/such/folder/missing.bin"]) {
        expect(await refusal(store.get(key))).toBe("STORE_NOT_FOUND");
        expect(await store.stat(key)).toBeUndefined();
      }
    },
  },
  {
    name: "delete() removes one key and is idempotent",
    async run(store) {
      await store.put("a/one.bin", utf8("1"));
      await store.put("a/two.bin", utf8("2"));
      await store.delete("a/one.bin");
      await store.delete("a/one.bin");
      await store.delete("never/there.bin");
      expect(await refusal(store.get("a/one.bin"))).toBe("STORE_NOT_FOUND");
      expect(await store.get("a/two.bin")).toEqual(utf8("2"));
      expect(await collect(store.list(""))).toEqual(["a/two.bin"]);
    },
  },
  {
    name: "a deleted key can be put again, in a folder that became empty",
    async run(store) {
      for (const round of ["1", "2", "3"]) {
        await store.put("x/y/z.bin", utf8(round), { ifAbsent: true });
        expect(await store.get("x/y/z.bin")).toEqual(utf8(round));
        await store.delete("x/y/z.bin");
      }
      expect(await collect(store.list(""))).toEqual([]);
    },
  },
  {
    name: "list() gives keys in ascending byte order, folders where their keys sort",
    async run(store) {
      const keys = ["a-b/c.bin", "a.bin", "a/b.bin", "a/b/c.bin", "a/z.bin", "a0.bin", "b.bin", "z/_.bin", "z/0.bin", "z/a.bin"];
      for (const key of [...keys].reverse()) await store.put(key, utf8(key));
      expect(await collect(store.list(""))).toEqual([...keys].sort());
    },
  },
  {
    name: "list() gives keys under the prefix, not beside it",
    async run(store) {
      for (const key of ["ab/c.bin", "a/b/c.bin", "a/bc.bin", "a.bin"]) await store.put(key, utf8(key));
      expect(await collect(store.list("a/"))).toEqual(["a/b/c.bin", "a/bc.bin"]);
      expect(await collect(store.list("a/b/"))).toEqual(["a/b/c.bin"]);
      expect(await collect(store.list("c/"))).toEqual([]);
    },
  },
  {
    name: "list() survives deletion of what it lists",
    async run(store) {
      for (let i = 0; i < 9; i++) await store.put(`a${i}/b.bin`, utf8("x"));
      for await (const key of store.list("")) {
        await store.delete(key);
      }
      expect(await collect(store.list(""))).toEqual([]);
    },
  },
  {
    name: "put() with ifAbsent leaves a taken key as it was",
    async run(store) {
      await store.put("a.bin", utf8("first"), { ifAbsent: true });
      expect(await refusal(store.put("a.bin", utf8("second"), { ifAbsent: true }))).toBe("STORE_EXISTS");
      expect(await store.get("a.bin")).toEqual(utf8("first"));
    },
  },
  {
    name: "exactly one of many racing puts with ifAbsent wins, and its value stays",
    async run(store, fixture) {
      const other = store.abilities.shared ? await fixture.openAgain?.() : undefined;
      try {
        for (let round = 0; round < 20; round++) {
          const key = `race/${round}.bin`;
          const puts = Array.from({ length: 8 }, (_, i) =>
            ((i % 2 === 0 ? other : undefined) ?? store).put(key, utf8(`writer ${i}`), { ifAbsent: true }),
          );
          const outcomes = await Promise.allSettled(puts);
          const winners = outcomes.flatMap((outcome, i) => (outcome.status === "fulfilled" ? [i] : []));
          expect(winners).toHaveLength(1);
          expect(await store.get(key)).toEqual(utf8(`writer ${winners[0]}`));
          for (const put of puts) await put.catch(async () => expect(await refusal(put)).toBe("STORE_EXISTS"));
        }
      } finally {
        await other?.close();
      }
    },
  },
  {
    name: "readers racing writers see whole values only",
    async run(store) {
      const values = [noise(3, 700_001), noise(4, 300_007)];
      await store.put("a.bin", values[0] as Uint8Array);
      const writing = (async () => {
        for (let i = 1; i <= 12; i++) await store.put("a.bin", values[i % 2] as Uint8Array);
      })();
      const reading = Array.from({ length: 3 }, async () => {
        for (let i = 0; i < 12; i++) {
          const read = await store.get("a.bin");
          expect(values.some((value) => Buffer.compare(value, read) === 0)).toBe(true);
        }
      });
      await Promise.all([writing, ...reading]);
    },
  },
  {
    name: "puts and deletes of neighbours in one folder do not disturb each other",
    async run(store) {
      await Promise.all(
        Array.from({ length: 8 }, async (_, i) => {
          for (let round = 0; round < 10; round++) {
            await store.put(`f/g/${i}.bin`, utf8(`${round}`));
            await store.delete(`f/g/${i}.bin`);
          }
        }),
      );
      expect(await collect(store.list(""))).toEqual([]);
    },
  },
  {
    name: "an aborted signal stops a call before it changes anything",
    async run(store) {
      await store.put("a.bin", utf8("old"));
      const signal = AbortSignal.abort();
      expect(await refusal(store.put("a.bin", utf8("new"), { signal }))).toBe("CANCELLED");
      expect(await refusal(store.delete("a.bin", { signal }))).toBe("CANCELLED");
      expect(await refusal(store.get("a.bin", { signal }))).toBe("CANCELLED");
      expect(await refusal(store.stat("a.bin", { signal }))).toBe("CANCELLED");
      expect(await refusal(collect(store.list("", { signal })))).toBe("CANCELLED");
      expect(await store.get("a.bin")).toEqual(utf8("old"));
    },
  },
  {
    name: "a put aborted under way leaves the old value or the new one, and says CANCELLED for the old",
    async run(store) {
      const [before, after] = [utf8("old"), noise(5, 4_000_000)];
      await store.put("a.bin", before);
      const controller = new AbortController();
      const putting = store.put("a.bin", after, { signal: controller.signal }).then(
        () => after,
        (error: unknown) => {
          expect(isKvaultError(error, "CANCELLED")).toBe(true);
          return before;
        },
      );
      controller.abort();
      const expected = await putting;
      expect(Buffer.compare(await store.get("a.bin"), expected)).toBe(0);
      expect(await collect(store.list(""))).toEqual(["a.bin"]);
    },
  },
  {
    name: "keys and prefixes outside the rules are INVALID_ARGUMENT to every call",
    async run(store) {
      for (const key of HOSTILE_KEYS) {
        expect([key, await refusal(store.put(key, utf8("x")))]).toEqual([key, "INVALID_ARGUMENT"]);
        expect([key, await refusal(store.get(key))]).toEqual([key, "INVALID_ARGUMENT"]);
        expect([key, await refusal(store.stat(key))]).toEqual([key, "INVALID_ARGUMENT"]);
        expect([key, await refusal(store.delete(key))]).toEqual([key, "INVALID_ARGUMENT"]);
      }
      for (const prefix of ["a", "/", "../", "a//", "a.b/", ".tmp/", "A/"]) {
        expect([prefix, await refusal(collect(store.list(prefix)))]).toEqual([prefix, "INVALID_ARGUMENT"]);
      }
      expect(await collect(store.list(""))).toEqual([]);
    },
  },
  {
    name: "the longest key is a key",
    async run(store) {
      const folders = `${"abcdefg/".repeat(60)}`;
      const key = `${folders}${"n".repeat(MAX_KEY_CHARS - folders.length - 4)}.bin`;
      await store.put(key, utf8("x"));
      expect(await store.get(key)).toEqual(utf8("x"));
      expect(await collect(store.list(""))).toEqual([key]);
    },
  },
  {
    name: "stat() tells an age that a later put renews, or none",
    async run(store) {
      const before = Date.now();
      await store.put("a.bin", utf8("x"));
      const first = (await store.stat("a.bin"))?.modifiedMs;
      await store.put("a.bin", utf8("x"));
      const second = (await store.stat("a.bin"))?.modifiedMs;
      expect(typeof second).toBe(typeof first);
      // Clocks of file systems tick in steps of some milliseconds, those of servers in seconds.
      if (first !== undefined && second !== undefined) {
        expect(first).toBeGreaterThan(before - 2000);
        expect(second).toBeGreaterThanOrEqual(first);
      }
    },
  },
  {
    name: "a shared store shows another opening what it holds",
    async run(store, fixture) {
      if (!store.abilities.shared) return;
      const other = await fixture.openAgain?.();
      if (other === undefined) return expect.fail("a shared store needs openAgain in its fixture");
      await store.put("a/b.bin", utf8("x"));
      expect(await other.get("a/b.bin")).toEqual(utf8("x"));
      expect(await collect(other.list("a/"))).toEqual(["a/b.bin"]);
      await other.delete("a/b.bin");
      await other.close();
      expect(await store.stat("a/b.bin")).toBeUndefined();
    },
  },
  {
    name: "close() waits for calls under way, is idempotent, and later calls are CLOSED",
    async run(store, fixture) {
      const bytes = noise(6, 3_000_000);
      const putting = store.put("a.bin", bytes);
      const closing = store.close();
      expect(await refusal(store.get("a.bin"))).toBe("CLOSED");
      await Promise.all([closing, store.close(), putting]);
      expect(await refusal(store.put("b.bin", bytes))).toBe("CLOSED");
      expect(await refusal(store.stat("a.bin"))).toBe("CLOSED");
      expect(await refusal(store.delete("a.bin"))).toBe("CLOSED");
      expect(await refusal(collect(store.list("")))).toBe("CLOSED");
      if (!store.abilities.durable) return;
      const again = await fixture.openAgain?.();
      if (again === undefined) return expect.fail("a durable store needs openAgain in its fixture");
      expect(Buffer.compare(await again.get("a.bin"), bytes)).toBe(0);
      await again.close();
    },
  },
];
