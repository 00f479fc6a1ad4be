import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isKvaultError, KvaultError } from "@kvault/core";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { encodeGguf, type GgufValue } from "../testing/encode-gguf.ts";
import { type GgufFile, openGguf } from "./gguf.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "gguf-"));
});
afterAll(() => rm(folder, { recursive: true }));

let numFiles = 0;
async function fileOf(bytes: Uint8Array): Promise<string> {
  const path = join(folder, `${numFiles++}.gguf`);
  await writeFile(path, bytes);
  return path;
}

const q8Row = Uint8Array.from({ length: 2 * 34 }, (_, i) => i);
const f32Data = new Uint8Array(Float32Array.of(1, -2, 3.5, 0).buffer);
const METADATA: Record<string, GgufValue> = {
  "general.architecture": "llama",
  "general.count": { u64: 12n },
  "general.ratio": { f32: 0.5 },
  "general.flag": true,
  "tokenizer.ggml.tokens": { strings: ["a", "", "Ġé"] },
  "tokenizer.ggml.token_type": { i32s: [1, 3, -1] },
};
const TENSORS = {
  "blk.0.w": { type: "q8_0", shape: [32, 2], data: q8Row },
  "norm.weight": { type: "f32", shape: [4], data: f32Data },
};
const SAMPLE = encodeGguf(METADATA, TENSORS);

async function failureOf(bytes: Uint8Array): Promise<KvaultError> {
  try {
    const gguf = await openGguf(await fileOf(bytes));
    await gguf.close();
  } catch (error) {
    if (error instanceof KvaultError) return error;
    throw error;
  }
  throw new Error("the file was accepted");
}

async function withFile(bytes: Uint8Array, use: (gguf: GgufFile) => Promise<void> | void): Promise<void> {
  const gguf = await openGguf(await fileOf(bytes));
  try {
    await use(gguf);
  } finally {
    await gguf.close();
  }
}

describe("openGguf()", () => {
  test("reads metadata of every kind it is asked for", () =>
    withFile(SAMPLE, ({ metadata }) => {
      expect(metadata.string("general.architecture")).toBe("llama");
      expect(metadata.number("general.count")).toBe(12);
      expect(metadata.number("general.ratio")).toBe(0.5);
      expect(metadata.boolean("general.flag")).toBe(true);
      expect(metadata.strings("tokenizer.ggml.tokens")).toEqual(["a", "", "Ġé"]);
      expect(metadata.numbers("tokenizer.ggml.token_type")).toEqual([1, 3, -1]);
      expect(metadata.arrayLength("tokenizer.ggml.tokens")).toBe(3);
      expect(metadata.number("general.absent", 7)).toBe(7);
      expect(metadata.has("general.absent")).toBe(false);
    }));

  test("finds tensors and reads their bytes", () =>
    withFile(SAMPLE, async (gguf) => {
      expect([...gguf.tensors.keys()]).toEqual(["blk.0.w", "norm.weight"]);
      expect(gguf.tensors.get("blk.0.w")).toMatchObject({ type: "q8_0", shape: [32, 2], byteLength: 68 });
      expect(await gguf.readTensor("blk.0.w")).toEqual(q8Row);
      expect(await gguf.readTensor("norm.weight")).toEqual(f32Data);
    }));

  test("reads a header longer than its first read", () => {
    const long = Array.from({ length: 9 }, (_, i) => String(i).repeat(1024 * 1024));
    return withFile(encodeGguf({ long: { strings: long } }, TENSORS), async ({ metadata, readTensor }) => {
      expect(metadata.strings("long").at(-1)).toBe(long.at(-1));
      expect(await readTensor("norm.weight")).toEqual(f32Data);
    });
  });

  test("close() may be called twice", async () => {
    const gguf = await openGguf(await fileOf(SAMPLE));
    await gguf.close();
    await expect(gguf.close()).resolves.toBeUndefined();
  });

  test("refuses a file cut at any byte, as MODEL_CORRUPT", async () => {
    const path = await fileOf(SAMPLE);
    // the padding after the last tensor is not part of it
    for (let length = 0; length < SAMPLE.byteLength - 16; length++) {
      await writeFile(path, SAMPLE.subarray(0, length));
      await expect(openGguf(path), `cut at ${length}`).rejects.toMatchObject({ code: "MODEL_CORRUPT" });
    }
  });

  test("names the tensor that is cut", async () => {
    const error = await failureOf(SAMPLE.subarray(0, SAMPLE.byteLength - 20));
    expect(error.message).toMatch(/tensor "norm\.weight" needs bytes \d+\.\.\d+, the file has \d+/);
    expect(error.details["tensor"]).toBe("norm.weight");
  });

  test("never throws anything but a typed error, whatever byte is wrong", async () => {
    const path = await fileOf(SAMPLE);
    await fc.assert(
      fc.asyncProperty(fc.nat(SAMPLE.byteLength - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
        const bytes = Uint8Array.from(SAMPLE);
        bytes[at] = (bytes[at] as number) ^ flip;
        await writeFile(path, bytes);
        try {
          const gguf = await openGguf(path);
          if (gguf.metadata.has("tokenizer.ggml.tokens")) gguf.metadata.arrayLength("tokenizer.ggml.tokens");
          await gguf.close();
        } catch (error) {
          expect(isKvaultError(error, "MODEL_CORRUPT", "MODEL_UNSUPPORTED")).toBe(true);
        }
      }),
      { numRuns: 300 },
    );
  });

  test("refuses counts over their limits without allocating for them", async () => {
    const withU64At = (at: number, value: bigint): Uint8Array => {
      const bytes = Uint8Array.from(SAMPLE);
      new DataView(bytes.buffer).setBigUint64(at, value, true);
      return bytes;
    };
    expect((await failureOf(withU64At(8, 10n ** 9n))).message).toMatch(/1000000000 tensors, limit 65536/);
    expect((await failureOf(withU64At(16, 2n ** 60n))).message).toMatch(/holds the number 1152921504606846976/);
    expect((await failureOf(withU64At(24, 10n ** 6n))).message).toMatch(/a string of 1000000 bytes, limit 65535/);
    const tokens = Buffer.from(SAMPLE).indexOf("tokenizer.ggml.tokens") + "tokenizer.ggml.tokens".length + 8;
    expect((await failureOf(withU64At(tokens, 10n ** 12n))).message).toMatch(/array of 1000000000000, limit/);
  });

  test.each([
    ["another magic", (bytes: Uint8Array) => bytes.set([0x47, 0x47, 0x4d, 0x4c]), "MODEL_CORRUPT", /does not begin with GGUF/],
    ["version 1", (bytes: Uint8Array) => bytes.set([1], 4), "MODEL_UNSUPPORTED", /GGUF version 1/],
    ["big-endian version 3", (bytes: Uint8Array) => bytes.set([0, 0, 0, 3], 4), "MODEL_UNSUPPORTED", /little endian/],
  ])("refuses %s", async (_, damage, code, message) => {
    const bytes = Uint8Array.from(SAMPLE);
    damage(bytes);
    const error = await failureOf(bytes);
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });

  test("refuses a row that is not whole blocks", async () => {
    const error = await failureOf(encodeGguf({}, { w: { type: "q8_0", shape: [16, 4], data: q8Row } }));
    expect(error.message).toMatch(/"w" has shape \[16, 4\] in blocks of 32/);
  });

  test("says which tensor has a type it does not know", async () => {
    const bytes = encodeGguf({}, { w: { type: "f32", shape: [4], data: f32Data } });
    bytes[8 + 16 + 8 + 1 + 4 + 8] = 99;
    expect(await failureOf(bytes)).toMatchObject({ code: "MODEL_UNSUPPORTED", details: { tensor: "w", typeId: 99 } });
  });

  test("refuses a missing file as MODEL_UNAVAILABLE, not retryable", async () => {
    await expect(openGguf(join(folder, "none"))).rejects.toMatchObject({ code: "MODEL_UNAVAILABLE", retryable: false });
  });

  test("readTensor() names a tensor that is not there", () =>
    withFile(SAMPLE, async ({ readTensor }) => {
      await expect(readTensor("blk.9.w")).rejects.toMatchObject({ code: "MODEL_CORRUPT", details: { tensor: "blk.9.w" } });
    }));
});

describe("GgufMetadata", () => {
  test.each([
    ["a missing key", "general.absent", /"general\.absent".*expected a string, found nothing/],
    ["a value of another type", "general.count", /"general\.count".*expected a string, found number 12/],
    ["an array", "tokenizer.ggml.tokens", /expected a string, found an array of 3/],
  ])("names %s", (_, key, message) =>
    withFile(SAMPLE, ({ metadata }) => {
      expect(() => metadata.string(key)).toThrow(message);
      expect(() => metadata.string(key)).toThrow(KvaultError);
    }),
  );

  test("names an array of another type", () =>
    withFile(SAMPLE, ({ metadata }) => {
      expect(() => metadata.numbers("tokenizer.ggml.tokens")).toThrow(/expected an array of numbers, found an array of 3/);
      expect(() => metadata.strings("general.architecture")).toThrow(/expected an array of strings, found string "llama"/);
    }));
});
