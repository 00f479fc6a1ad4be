import { cp, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openWeights } from "../formats/open-weights.ts";
import { asGguf } from "../testing/as-gguf.ts";
import { openHub } from "./hub.ts";
import { addLocalModel, localCatalogue } from "./pin-entry.ts";

const TINY = fileURLToPath(new URL("../../../../tests/fixtures/tiny-models/qwen2", import.meta.url));
const LICENCE = "CC0-1.0";
let scratch: string;
let folder: string;
let cacheDir: string;

beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), "pin-"));
  folder = join(scratch, "weights");
  cacheDir = join(scratch, "cache");
  await cp(TINY, folder, { recursive: true });
});
afterEach(() => rm(scratch, { recursive: true }));

describe("addLocalModel()", () => {
  test("makes a folder a model that is used where it is", async () => {
    const entry = await addLocalModel(cacheDir, { name: "mine", path: folder, licence: LICENCE });
    expect(entry).toMatchObject({ name: "mine", sources: [{ type: "folder", path: folder }], config: { numLayers: 2 } });
    const hub = await openHub({ cacheDir, offline: true });
    expect(hub.list().map(({ name }) => name)).toContain("mine");
    expect(hub.pathOf("mine")).toBe(folder);
    expect(await hub.isPresent("mine")).toBe(true);
    expect(await hub.fetchModel("mine")).toBe(folder);
    expect((await readdir(cacheDir)).sort()).toEqual(["catalogue.json", "mine.verified"]);
  });

  test("makes a GGUF file a model that is copied into the cache", async () => {
    const path = join(scratch, "tiny.gguf");
    const source = await openWeights(folder);
    await writeFile(path, await asGguf(source, 64));
    await source.close();
    await addLocalModel(cacheDir, { name: "file", path, licence: LICENCE });
    const hub = await openHub({ cacheDir, offline: true });
    expect(await hub.fetchModel("file")).toBe(join(cacheDir, "file-tiny.gguf"));
  });

  test("replaces an entry of the same name and keeps the others", async () => {
    for (const name of ["one", "two", "one"]) await addLocalModel(cacheDir, { name, path: folder, licence: LICENCE });
    const { models } = JSON.parse(await readFile(localCatalogue(cacheDir), "utf8"));
    expect(models.map(({ name }: { name: string }) => name)).toEqual(["two", "one"]);
  });

  test("refuses a name of the built-in catalogue, a name that is a path, and weights that are not there", async () => {
    const add = (name: string, path: string) => addLocalModel(cacheDir, { name, path, licence: LICENCE });
    await expect(add("smollm2-135m", folder)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(add("../x", folder)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(add("mine", join(scratch, "nothing"))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(stat(localCatalogue(cacheDir))).rejects.toMatchObject({ code: "ENOENT" });
  });
});

describe("a folder of the catalogue", () => {
  test("is hashed again when a file of it changed, and refused when it is another model", async () => {
    await addLocalModel(cacheDir, { name: "mine", path: folder, licence: LICENCE });
    const hub = await openHub({ cacheDir, offline: true });
    await hub.fetchModel("mine");
    const weights = join(folder, "model.safetensors");
    await utimes(weights, new Date(), new Date(0));
    expect(await hub.fetchModel("mine")).toBe(folder);
    const bytes = await readFile(weights);
    bytes[bytes.length - 1] = (bytes[bytes.length - 1] as number) ^ 1;
    await writeFile(weights, bytes);
    await expect(hub.fetchModel("mine")).rejects.toMatchObject({ code: "MODEL_CORRUPT" });
  });

  test("is absent when it went away", async () => {
    await addLocalModel(cacheDir, { name: "mine", path: folder, licence: LICENCE });
    await rm(folder, { recursive: true });
    const hub = await openHub({ cacheDir, offline: true });
    expect(await hub.isPresent("mine")).toBe(false);
    await expect(hub.fetchModel("mine")).rejects.toMatchObject({ code: "MODEL_UNAVAILABLE" });
  });
});
