import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { isKvaultError } from "@kvault/core";
import { collect, failureOf } from "@kvault/core/testing";
import { durationFromMs } from "@kvault/rpc";
import { afterEach, describe, expect, test } from "vitest";
import { type Caller, RELOADED_MS, type SecureStack, startSecureStack } from "../testing/secure-stack.ts";
import { closeAll, contextOf, idOf, request } from "../testing/stack.ts";

afterEach(closeAll);

const NOBODYS = `contexts/c${"0".repeat(32)}`;

async function twoTenants(): Promise<{ stack: SecureStack; acme: Caller; other: Caller }> {
  const stack = await startSecureStack();
  const [acme, other] = [await stack.issue("acme"), await stack.issue("other")];
  await sleep(RELOADED_MS);
  return { stack, acme: stack.as(acme.token), other: stack.as(other.token) };
}

async function create(caller: Caller, text: string): Promise<string> {
  const operation = await caller.contexts.createContext(request(text));
  await caller.operations.waitOperation({ name: operation.name, timeout: durationFromMs(5_000) });
  return contextOf(operation);
}

describe("two tenants", () => {
  test("with the same text have two contexts, whose digests have nothing in common", async () => {
    const { stack, acme, other } = await twoTenants();
    const [first, second] = [await create(acme, "The same text."), await create(other, "The same text.")];
    expect(first).not.toBe(second);
    expect(await create(acme, "The same text.")).toBe(first);
    const [a, b] = stack.prefill[0]?.builds ?? [];
    expect(stack.prefill[0]?.builds).toHaveLength(2);
    expect([a?.tenant, b?.tenant]).toEqual(["acme", "other"]);
    expect(a?.contentSha256).not.toBe(b?.contentSha256);
    expect(a?.tenantSalt).not.toBe(b?.tenantSalt);
    expect(a?.digest).not.toBe(b?.digest);
    // Nothing that can be seen of a context tells its salt.
    const shown = JSON.stringify(await acme.contexts.getContext({ name: first }), (_, v) =>
      typeof v === "bigint" ? String(v) : v,
    );
    expect(shown).not.toContain(a?.tenantSalt);
  });

  test("do not find each other's contexts by any method, in the words used for those that are not there", async () => {
    const { stack, acme, other } = await twoTenants();
    const name = await create(acme, "A secret of acme.");
    const attempts = (context: string): Promise<unknown>[] => {
      const operation = `operations/${idOf(context)}`;
      return [
        other.contexts.getContext({ name: context }),
        other.contexts.updateContext({ context: { name: context, pinned: true } }),
        other.contexts.deleteContext({ name: context, force: true, purge: true }),
        other.contexts.undeleteContext({ name: context }),
        other.contexts.warmContext({ name: context }),
        other.contexts.inspectContext({ name: context }),
        collect(other.contexts.watchContext({ name: context })),
        collect(other.inference.query({ source: { case: "context", value: context }, question: "?" })),
        collect(other.inference.queryBatch({ context, questions: [{ question: "?" }] })),
        other.operations.getOperation({ name: operation }),
        other.operations.waitOperation({ name: operation }),
        other.operations.cancelOperation({ name: operation }),
      ];
    };
    const failures = async (context: string): Promise<object[]> =>
      Promise.all(
        attempts(context).map(async (attempt) => {
          const { code, message, details, retryable } = await failureOf(attempt);
          const id = idOf(context);
          return { code, retryable, message: message.replaceAll(id, "…"), details: JSON.stringify(details).replaceAll(id, "…") };
        }),
      );
    const theirs = await failures(name);
    expect(theirs).toEqual(await failures(NOBODYS));
    expect(theirs.map((failure) => (failure as { code: string }).code).every((code) => code.endsWith("_NOT_FOUND"))).toBe(true);
    expect((await other.contexts.listContexts({})).contexts).toEqual([]);
    expect((await acme.contexts.getContext({ name })).name).toBe(name);
    expect(stack.decode[0]?.executes).toEqual([]);
  });

  test("page through their own contexts alone", async () => {
    const { acme, other } = await twoTenants();
    const names: string[] = [];
    for (let i = 0; i < 3; i++) {
      names.push(await create(acme, `Of acme ${i}.`));
      await create(other, `Of the other ${i}.`);
    }
    const seen: string[] = [];
    let pageToken = "";
    do {
      const page = await acme.contexts.listContexts({ pageSize: 2, pageToken });
      seen.push(...page.contexts.map(({ name }) => name));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    expect(seen.sort()).toEqual(names.sort());
  });

  test("take as long to be told no: coarse timing tells nothing", async () => {
    const { acme, other } = await twoTenants();
    const name = await create(acme, "Somebody else's.");
    const once = async (context: string): Promise<number> => {
      const startMs = performance.now();
      await other.contexts.getContext({ name: context }).catch((error: unknown) => {
        if (!isKvaultError(error, "CONTEXT_NOT_FOUND")) throw error;
      });
      return performance.now() - startMs;
    };
    const times: { theirs: number[]; nobodys: number[] } = { theirs: [], nobodys: [] };
    for (let i = 0; i < 20; i++) await once(NOBODYS);
    for (let i = 0; i < 150; i++) {
      times.theirs.push(await once(name));
      times.nobodys.push(await once(NOBODYS));
    }
    const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length / 2] as number;
    const [theirs, nobodys] = [median(times.theirs), median(times.nobodys)];
    expect(Math.abs(theirs - nobodys)).toBeLessThan(0.5 * Math.max(theirs, nobodys));
  });
});

describe("a deleted tenant", () => {
  test("is refused at once, its contexts and its key go, its name is not given again", async () => {
    const { stack, acme, other } = await twoTenants();
    const name = await create(acme, "To be gone.");
    const kept = await create(other, "To stay.");
    await stack.deleteTenant("acme");
    await sleep(RELOADED_MS);
    expect(await failureOf(acme.contexts.getContext({ name }))).toMatchObject({
      code: "UNAUTHENTICATED",
      details: { reason: "revoked" },
    });
    const tombstone = Buffer.from(await stack.store.get("v1/keys/acme.json")).toString();
    expect(JSON.parse(tombstone)).toEqual({ schema: "kvault.tenant-key/1", tenant: "acme" });
    expect(stack.decode[0]?.evicted).toContain(idOf(name));
    expect((await other.contexts.getContext({ name: kept })).name).toBe(kept);
    await expect(stack.issue("acme")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});
