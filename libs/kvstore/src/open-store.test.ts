import fs from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, test } from "vitest";
import { openStore } from "./open-store.ts";

describe("openStore()", () => {
  test("opens a directory by path, by relative path and by file URL", async () => {
    const root = await fs.mkdtemp(path.join(tmpdir(), "kvault open 100% "));
    try {
      for (const url of [`file:${root}/a`, `file:${path.relative(process.cwd(), root)}/a`, pathToFileURL(`${root}/a`).href]) {
        const store = await openStore(url);
        await store.put("x.bin", Uint8Array.of(1));
        expect(await fs.readdir(`${root}/a`)).toContain("x.bin");
        await store.delete("x.bin");
        await store.close();
      }
    } finally {
      await fs.rm(root, { recursive: true });
    }
  });

  test("opens a new memory store each time", async () => {
    const [one, two] = [await openStore("memory:"), await openStore("memory:")];
    await one.put("x.bin", Uint8Array.of(1));
    expect(await two.stat("x.bin")).toBeUndefined();
  });

  test("lists the known schemes for another one, without repeating what may be a password", async () => {
    const refused = openStore("gopher://user:secret@host");
    await expect(refused).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      details: { field: "storeUrl", found: "gopher:", known: expect.stringMatching(/^file: memory:/) },
    });
    await expect(refused).rejects.not.toThrow(/secret/);
    await expect(openStore("/just/a/path")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  test("refuses a file URL without a path or with a host", async () => {
    await expect(openStore("file:")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(openStore("file://elsewhere/path")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});
