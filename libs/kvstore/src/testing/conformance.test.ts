/** The suite must fail where a store is wrong; these stores are each wrong in one way. */
import { KvaultError } from "@kvault/core";
import { describe, expect, test } from "vitest";
import { openMemoryStore } from "../backends/memory.ts";
import type { BlobStat, BlobStore, CallOptions, PutOptions } from "../blob-store.ts";
import { BLOB_STORE_CASES } from "./conformance.ts";

/** A store that passes everything on; subclasses break one thing. */
class WrappedStore implements BlobStore {
  readonly inner: BlobStore = openMemoryStore();
  readonly abilities: BlobStore["abilities"] = { durable: false, shared: false };

  put(key: string, bytes: Uint8Array, options?: PutOptions): Promise<void> {
    return this.inner.put(key, bytes, options);
  }
  get(key: string, options?: CallOptions): Promise<Uint8Array> {
    return this.inner.get(key, options);
  }
  stat(key: string, options?: CallOptions): Promise<BlobStat | undefined> {
    return this.inner.stat(key, options);
  }
  delete(key: string, options?: CallOptions): Promise<void> {
    return this.inner.delete(key, options);
  }
  list(prefix: string, options?: CallOptions): AsyncIterable<string> {
    return this.inner.list(prefix, options);
  }
  close(): Promise<void> {
    return this.inner.close();
  }
}

class EveryFailureIsMissing extends WrappedStore {
  override async get(key: string, options?: CallOptions): Promise<Uint8Array> {
    return this.inner.get(key, options).catch((cause: unknown) => {
      throw new KvaultError("STORE_NOT_FOUND", `Cannot get "${key}": no such key`, { cause });
    });
  }
  override async stat(key: string, options?: CallOptions): Promise<BlobStat | undefined> {
    return this.inner.stat(key, options).catch(() => undefined);
  }
}

class RacyIfAbsent extends WrappedStore {
  override async put(key: string, bytes: Uint8Array, options: PutOptions = {}): Promise<void> {
    if (options.ifAbsent === true && (await this.inner.stat(key)) !== undefined) {
      throw new KvaultError("STORE_EXISTS", `Cannot put "${key}": the key is taken`);
    }
    await this.inner.put(key, bytes, { signal: options.signal });
  }
}

class TornValues extends WrappedStore {
  override async put(key: string, bytes: Uint8Array, options?: PutOptions): Promise<void> {
    await this.inner.put(key, bytes.subarray(0, bytes.byteLength / 2), options);
    await Promise.resolve();
    await this.inner.put(key, bytes, { signal: options?.signal });
  }
}

class LosesTheLastByte extends WrappedStore {
  override async get(key: string, options?: CallOptions): Promise<Uint8Array> {
    return (await this.inner.get(key, options)).subarray(0, -1);
  }
}

class UnorderedList extends WrappedStore {
  override async *list(prefix: string, options?: CallOptions): AsyncGenerator<string> {
    const keys: string[] = [];
    for await (const key of this.inner.list(prefix, options)) keys.unshift(key);
    yield* keys;
  }
}

class PrefixIsText extends WrappedStore {
  override async *list(prefix: string, options?: CallOptions): AsyncGenerator<string> {
    for await (const key of this.inner.list("", options)) if (key.startsWith(prefix.replace(/\/$/, ""))) yield key;
  }
}

class DeleteOfNothingFails extends WrappedStore {
  override async delete(key: string, options?: CallOptions): Promise<void> {
    await this.inner.get(key, options);
    await this.inner.delete(key, options);
  }
}

class SharedButSaysSo extends WrappedStore {
  override readonly abilities = { durable: false, shared: true };
}

class IgnoresSignals extends WrappedStore {
  override put(key: string, bytes: Uint8Array, options: PutOptions = {}): Promise<void> {
    return this.inner.put(key, bytes, { ifAbsent: options.ifAbsent === true });
  }
}

class UsableAfterClose extends WrappedStore {
  override async close(): Promise<void> {
    // keeps going
  }
}

class UntypedErrors extends WrappedStore {
  override async get(key: string, options?: CallOptions): Promise<Uint8Array> {
    return this.inner.get(key, options).catch((error: unknown) => {
      throw new Error(String(error));
    });
  }
}

async function failedCases(open: () => BlobStore): Promise<string[]> {
  const failed: string[] = [];
  for (const { name, run } of BLOB_STORE_CASES) {
    const store = open();
    await run(store, { open: async () => store }).catch(() => failed.push(name));
    await store.close();
  }
  return failed;
}

describe("blobStoreConformance()", () => {
  test("passes a store that only passes on", async () => {
    expect(await failedCases(() => new WrappedStore())).toEqual([]);
  });

  test.each<[string, () => BlobStore, string]>([
    ["reports every failure as missing", () => new EveryFailureIsMissing(), "an aborted signal stops a call"],
    ["races on ifAbsent", () => new RacyIfAbsent(), "exactly one of many racing puts"],
    ["shows torn values", () => new TornValues(), "readers racing writers see whole values only"],
    ["loses the last byte", () => new LosesTheLastByte(), "get() returns what put() stored"],
    ["lists in another order", () => new UnorderedList(), "list() gives keys in ascending byte order"],
    ["takes a prefix for text", () => new PrefixIsText(), "list() gives keys under the prefix, not beside it"],
    ["fails to delete nothing", () => new DeleteOfNothingFails(), "delete() removes one key and is idempotent"],
    ["says it is shared and is not", () => new SharedButSaysSo(), "a shared store shows another opening"],
    ["ignores signals", () => new IgnoresSignals(), "an aborted signal stops a call"],
    ["goes on after close", () => new UsableAfterClose(), "close() waits for calls under way"],
    ["throws plain errors", () => new UntypedErrors(), "what is missing is STORE_NOT_FOUND"],
  ])("fails a store that %s", async (_what, open, caseName) => {
    expect(await failedCases(open)).toContainEqual(expect.stringContaining(caseName));
  });
});
