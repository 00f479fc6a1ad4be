import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isKvaultError, type KvaultError } from "@kvault/core";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { changeAccessFile, parseAccessFile, readAccessFile, withNewToken, withoutToken, withTenant } from "./access-file.ts";
import { AccessRegistry } from "./access-registry.ts";
import { matchesToken, tokenIdOf } from "./token.ts";

const DAY_MS = 86_400_000;
let folder = "";
let path = "";

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "kv-"));
  path = join(folder, "access.json");
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function issue(
  tenant: string,
  more: { nowMs?: number; expireTimeMs?: number } = {},
): Promise<{ id: string; token: string }> {
  let made = { id: "", token: "" };
  await changeAccessFile(path, (before) => {
    const { file, ...rest } = withNewToken(before, { tenant, role: "tenant", note: "", nowMs: 1_000, expireTimeMs: 0, ...more });
    made = rest;
    return file;
  });
  return made;
}

function refusal(registry: AccessRegistry, token: string | undefined): KvaultError {
  try {
    registry.authenticate(token);
  } catch (error) {
    if (isKvaultError(error)) return error;
    throw error;
  }
  throw new Error("was let in");
}

describe("access file", () => {
  test("holds a hash of each token and never the token, for its owner's eyes only", async () => {
    const { token, id } = await issue("acme");
    const text = await readFile(path, "utf8");
    expect(text).not.toContain(token.slice(-43));
    expect(text).toContain(id);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const [entry] = (await readAccessFile(path)).tokens;
    expect(matchesToken(token, entry?.sha256 ?? "")).toBe(true);
    expect(matchesToken(`${token.slice(0, -1)}${token.endsWith("A") ? "B" : "A"}`, entry?.sha256 ?? "")).toBe(false);
    expect(tokenIdOf(token)).toBe(id);
  });

  test("gives every tenant a salt of its own, and the default tenant none", async () => {
    await issue("acme");
    await issue("other");
    await issue("default");
    const { tenants } = await readAccessFile(path);
    expect(tenants["acme"]?.salt).toMatch(/^[0-9a-f]{64}$/);
    expect(tenants["acme"]?.salt).not.toBe(tenants["other"]?.salt);
    expect(tenants["default"]?.salt).toBe("");
  });

  test("keeps the salt when a tenant gets another token", async () => {
    await issue("acme");
    const before = (await readAccessFile(path)).tenants["acme"]?.salt;
    await issue("acme");
    expect((await readAccessFile(path)).tenants["acme"]?.salt).toBe(before);
  });

  test.each([
    ["not JSON", "{"],
    ["an unknown field", JSON.stringify({ version: 1, tenants: {}, tokens: [], more: 1 })],
    ["another version", JSON.stringify({ version: 2, tenants: {}, tokens: [] })],
    ["a tenant that is a path", JSON.stringify({ version: 1, tenants: { "../x": { salt: "", createTimeMs: 0 } }, tokens: [] })],
  ])("refuses %s", (_, text) => {
    expect(() => parseAccessFile(text)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  test("a change that a kill left half done does not block the next for ever, one under way does", async () => {
    await writeFile(`${path}.next`, "half");
    await expect(issue("acme")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await rm(`${path}.next`);
    await issue("acme");
    expect((await readAccessFile(path)).tokens).toHaveLength(1);
  });

  test("a deleted tenant's name is not given again", async () => {
    await issue("acme");
    await changeAccessFile(path, (file) => {
      const acme = file.tenants["acme"];
      if (acme === undefined) throw new Error("no tenant");
      return { ...file, tenants: { ...file.tenants, acme: { ...acme, deleteTimeMs: 5 } } };
    });
    const file = await readAccessFile(path);
    expect(() => withTenant(file, "acme", 6)).toThrow(/deleted/);
  });
});

describe("AccessRegistry", () => {
  test("two tokens of a tenant are valid at once, so that one can replace the other", async () => {
    const first = await issue("acme");
    const second = await issue("acme");
    const registry = new AccessRegistry(path);
    expect(registry.authenticate(first.token)).toEqual({ tenant: "acme", role: "tenant", tokenId: first.id });
    expect(registry.authenticate(second.token)).toMatchObject({ tenant: "acme", tokenId: second.id });
    await changeAccessFile(path, (file) => withoutToken(file, first.id, 2_000));
    registry.refresh();
    expect(refusal(registry, first.token)).toMatchObject({ code: "UNAUTHENTICATED", details: { reason: "revoked" } });
    expect(registry.authenticate(second.token).tenant).toBe("acme");
    registry.close();
  });

  test("refuses absent, wrong and expired tokens as UNAUTHENTICATED, each with its reason", async () => {
    const { token, id } = await issue("acme", { expireTimeMs: DAY_MS });
    let nowMs = DAY_MS - 1;
    const registry = new AccessRegistry(path, { nowMs: () => nowMs });
    expect(registry.authenticate(token).tenant).toBe("acme");
    nowMs = DAY_MS;
    const reasons = [undefined, "", "kvt_x", `kvt_${id}_${"A".repeat(43)}`, `kvt_${"0".repeat(16)}_${"A".repeat(43)}`, token].map(
      (each) => refusal(registry, each).details["reason"],
    );
    expect(reasons).toEqual(["absent", "absent", "wrong", "wrong", "wrong", "expired"]);
    registry.close();
  });

  test("who lacks the secret does not learn that a token was revoked or expired", async () => {
    const { id } = await issue("acme", { expireTimeMs: 1 });
    await changeAccessFile(path, (file) => withoutToken(file, id, 2_000));
    const registry = new AccessRegistry(path);
    expect(refusal(registry, `kvt_${id}_${"A".repeat(43)}`).details["reason"]).toBe("wrong");
    registry.close();
  });

  test("a broken file leaves the last good one in force", async () => {
    const { token } = await issue("acme");
    const errors: object[] = [];
    const log = { info: () => undefined, warn: () => undefined, error: (fields: object) => void errors.push(fields) };
    const registry = new AccessRegistry(path, { log });
    await writeFile(path, "{");
    registry.refresh();
    expect(registry.authenticate(token).tenant).toBe("acme");
    await rm(path);
    registry.refresh();
    expect(registry.authenticate(token).tenant).toBe("acme");
    expect(errors).toHaveLength(2);
    registry.close();
  });

  test("a file that is missing at the start is an error", () => {
    expect(() => new AccessRegistry(path)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });
});
