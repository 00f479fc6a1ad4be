import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AccessRegistry, readAccessFile } from "@kvault/rpc";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createProgram } from "../program.ts";

let folder = "";
let file = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "kv-"));
  file = join(folder, "access.json");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function kvault(...args: string[]): Promise<string> {
  let out = "";
  const stdout = { write: (text: string) => (out += text), isTTY: false } as unknown as NodeJS.WriteStream;
  const stderr = { write: () => true, isTTY: false } as unknown as NodeJS.WriteStream;
  const host = { streams: { stdout, stderr }, env: {}, signal: new AbortController().signal };
  await createProgram(host).parseAsync(["node", "kvault", ...args]);
  return out.trim();
}

describe("kvault token", () => {
  test("create prints a token that lets its tenant in, list never shows it, revoke ends it", async () => {
    const token = await kvault("token", "create", "--tenant", "acme", "--ttl", "90d", "--note", "ci", "--tokens-file", file);
    const registry = new AccessRegistry(file);
    const { tokenId } = registry.authenticate(token);
    expect(registry.authenticate(token)).toMatchObject({ tenant: "acme", role: "tenant" });
    const listed = await kvault("token", "list", "--json", "--tokens-file", file);
    expect(JSON.parse(listed)).toMatchObject({ id: tokenId, tenant: "acme", state: "valid", note: "ci" });
    expect(listed).not.toContain(token);
    expect(listed).not.toContain((await readAccessFile(file)).tokens[0]?.sha256);
    await kvault("token", "revoke", tokenId, "--tokens-file", file);
    registry.refresh();
    expect(() => registry.authenticate(token)).toThrow(expect.objectContaining({ code: "UNAUTHENTICATED" }));
    registry.close();
  });

  test("create --service makes a token for services", async () => {
    const { role } = JSON.parse(
      await kvault("token", "create", "--tenant", "cluster", "--service", "--json", "--tokens-file", file),
    ) as { role: string };
    expect(role).toBe("service");
  });

  test("revoke of an unknown id is an error", async () => {
    await expect(kvault("token", "revoke", "nobody", "--tokens-file", file)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

describe("kvault tenant", () => {
  test("quota, list and delete", async () => {
    await kvault("tenant", "quota", "acme", "--contexts", "5", "--tokens-file", file);
    expect(JSON.parse(await kvault("tenant", "list", "--json", "--tokens-file", file))).toMatchObject({
      tenant: "acme",
      deleted: false,
      quotas: { contexts: 5 },
    });
    await kvault("tenant", "delete", "acme", "--yes", "--tokens-file", file);
    expect(JSON.parse(await kvault("tenant", "list", "--json", "--tokens-file", file))).toMatchObject({
      tenant: "acme",
      deleted: true,
    });
    await expect(kvault("tenant", "delete", "nobody", "--yes", "--tokens-file", file)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });
});

describe("kvault key", () => {
  test("create makes a line that rewrap takes", async () => {
    const keys = join(folder, "master.keys");
    writeFileSync(keys, `${await kvault("key", "create", "2026")}\n`);
    const out = await kvault("key", "rewrap", "--store", `file:${folder}/store`, "--master-key-file", keys, "--json");
    expect(JSON.parse(out)).toEqual({ rewrapped: 0 });
  });
});
