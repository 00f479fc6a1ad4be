import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createMasterKeyLine, openKeyRing, openStore } from "@kvault/kvstore";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createProgram } from "../program.ts";

describe("kvault key", () => {
  let folder = "";
  let keyFile = "";
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "kvault-key-"));
    keyFile = join(folder, "master.keys");
    writeFileSync(keyFile, createMasterKeyLine("a"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const kvault = async (...args: string[]) => {
    let stdout = "";
    const host = {
      streams: {
        stdout: {
          write: (text: string) => {
            stdout += text;
          },
        },
        stderr: { write: () => undefined },
      },
      env: {},
      signal: new AbortController().signal,
    };
    const where = ["--store", `file:${join(folder, "store")}`, "--master-key-file", keyFile];
    const error = await createProgram(host)
      .parseAsync(["key", ...args, ...where], { from: "user" })
      .then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
    return { stdout, error };
  };

  test("rotate gives a tenant another key, takes the earlier one away when it may go, and rewrap moves what is left", async () => {
    const store = await openStore(`file:${join(folder, "store")}`);
    const ring = await openKeyRing(store, keyFile);
    const contextId = `c${"1".repeat(32)}`;
    const sealed = await ring.sealRequest(Buffer.from("a text"), "acme", contextId);
    const first = await kvault("rotate", "acme", "--stopped", "--json");
    expect(JSON.parse(first.stdout)).toEqual({
      tenant: "acme",
      resealedRecords: 0,
      resealedParts: 0,
      broken: [],
      retiredKeys: 0,
    });
    expect(Buffer.from(await (await openKeyRing(store, keyFile)).openRequest(sealed, "acme", contextId)).toString()).toBe(
      "a text",
    );
    const again = await kvault("rotate", "acme", "--stopped", "--no-new-key", "--retire-after", "0s", "--json");
    expect(JSON.parse(again.stdout)).toMatchObject({ retiredKeys: 1 });
    const late = (await openKeyRing(store, keyFile)).openRequest(sealed, "acme", contextId);
    await expect(late).rejects.toMatchObject({ code: "STORE_FORBIDDEN" });
    writeFileSync(keyFile, `${createMasterKeyLine("b")}\n${readFileSync(keyFile, "utf8")}`);
    expect(JSON.parse((await kvault("rewrap", "--json")).stdout)).toEqual({ rewrapped: 1 });
    await store.close();
  });

  test("rotate is refused where servers may delete what it seals", async () => {
    const { error } = await kvault("rotate", "acme");
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", details: { field: "registry" } });
  });

  test("rotate is refused for a tenant that nothing was sealed for", async () => {
    expect((await kvault("rotate", "nobody", "--stopped")).error).toMatchObject({ code: "STORE_FORBIDDEN" });
  });
});
