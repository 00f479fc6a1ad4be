import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { collect, failureOf } from "@kvault/core/testing";
import { afterEach, describe, expect, test } from "vitest";
import { RELOADED_MS, startSecureStack } from "../testing/secure-stack.ts";
import { closeAll, contextOf, request, temporaryFolder } from "../testing/stack.ts";
import { openAuditLog } from "./audit-log.ts";

afterEach(closeAll);

const SILENT = { info: () => undefined, warn: () => undefined, error: () => undefined };
const ENTRY = { requestId: "r", tenant: "acme", tokenId: "t", rpc: "/s/M", resource: "", outcome: "OK", reason: "" };

describe("audit log", () => {
  test("says who called what on which context and how it ended, and never what was said", async () => {
    const stack = await startSecureStack({
      decode: [
        {
          async *execute() {
            yield { event: { case: "delta", value: { text: "SECRET answer", tokenIds: [1] } } };
            yield { event: { case: "answer", value: { text: "SECRET answer" } } };
          },
        },
      ],
    });
    const { token, id: tokenId } = await stack.issue("acme");
    await sleep(RELOADED_MS);
    const { contexts, inference, operations } = stack.as(token);
    const operation = await contexts.createContext(
      request("SECRET text", { displayName: "SECRET name", labels: { SECRETKEY: "SECRET" } }),
      { requestId: "req-create" },
    );
    await operations.waitOperation({ name: operation.name });
    const name = contextOf(operation);
    await collect(inference.query({ source: { case: "context", value: name }, question: "SECRET question" }));
    await failureOf(contexts.getContext({ name: "contexts/SECRET" }));
    await failureOf(contexts.createContext({ model: "SECRET model" }));
    await contexts.deleteContext({ name });
    await failureOf(stack.as(`kvt_${"0".repeat(16)}_SECRET${"A".repeat(37)}`).contexts.getContext({ name }));
    await stack.gateway.close();

    const text = await readFile(stack.auditPath, "utf8");
    expect(text).not.toContain("SECRET");
    expect(text).not.toContain(token);
    expect((await stat(stack.auditPath)).mode & 0o077).toBe(0);
    const lines = await stack.audit();
    const rpcs = lines.map(({ rpc, resource, outcome, tenant }) => [rpc?.split("/").at(-1), resource, outcome, tenant]);
    expect(rpcs).toEqual([
      ["CreateContext", operation.name, "OK", "acme"],
      ["WaitOperation", operation.name, "OK", "acme"],
      ["Query", name, "OK", "acme"],
      ["GetContext", "", "INVALID_ARGUMENT", "acme"],
      ["CreateContext", "", expect.stringMatching(/INVALID_ARGUMENT|MODEL_NOT_FOUND/), "acme"],
      ["DeleteContext", name, "OK", "acme"],
      ["GetContext", "", "UNAUTHENTICATED", ""],
    ]);
    expect(lines[0]).toMatchObject({ requestId: "req-create", tokenId, time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/) });
    expect(lines.at(-1)).toMatchObject({ reason: "wrong", tokenId: "" });
  });

  test("appends to what is there and ends with whole lines", async () => {
    const path = join(await temporaryFolder(), "audit.jsonl");
    for (let i = 0; i < 2; i++) {
      const audit = await openAuditLog(path, SILENT, () => 0);
      for (let n = 0; n < 100; n++) audit.write({ ...ENTRY, requestId: `${i}-${n}` });
      await audit.close();
      await audit.close();
    }
    const text = await readFile(path, "utf8");
    expect(text.endsWith("\n")).toBe(true);
    const ids = text
      .trimEnd()
      .split("\n")
      .map((line) => (JSON.parse(line) as { requestId: string }).requestId);
    expect(ids).toEqual([0, 1].flatMap((i) => Array.from({ length: 100 }, (_, n) => `${i}-${n}`)));
  });

  test("a text with line breaks stays on its line", async () => {
    const path = join(await temporaryFolder(), "audit.jsonl");
    const audit = await openAuditLog(path, SILENT);
    audit.write({ ...ENTRY, requestId: 'a"\n{"forged":1}' });
    await audit.close();
    expect((await readFile(path, "utf8")).trimEnd().split("\n")).toHaveLength(1);
  });

  test("cannot be opened: the gateway does not start", async () => {
    const path = join(await temporaryFolder(), "no", "audit.jsonl");
    await expect(openAuditLog(path, SILENT)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});
