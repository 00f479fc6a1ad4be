import { KvaultError } from "@kvault/core";
import { collect, failureOf } from "@kvault/core/testing";
import { Cluster, createClient } from "@kvault/rpc";
import { afterEach, expect, test } from "vitest";
import type { WorkerScript } from "../testing/fake-worker.ts";
import { startSecureStack } from "../testing/secure-stack.ts";
import { closeAll, created, idOf, MODEL, startStack } from "../testing/stack.ts";

afterEach(closeAll);

const SECRET = "zanzibarquux";

test("says where a question went, what failed there, where it went then, and what the answer cost", async () => {
  let deaths = 0;
  const dyingOnce: WorkerScript = {
    async *execute() {
      if (deaths++ === 0) throw new KvaultError("ENGINE_DIED", "Cannot answer: engine died");
      yield { event: { case: "delta", value: { text: "b", tokenIds: [2] } } };
      yield { event: { case: "answer", value: { text: "b", timings: { ttftMs: 7 }, usage: { newTokens: 1 } } } };
    },
  };
  const stack = await startStack({ decode: [dyingOnce, dyingOnce] });
  const cluster = createClient(Cluster, stack.channel);
  const name = await created(stack, `A text about ${SECRET}.`);
  const source = { case: "context", value: name } as const;
  await collect(stack.inference.query({ source, question: `What is ${SECRET}?` }, { requestId: "q-1" }));
  const found = await cluster.explainRequest({ requestId: "q-1" });
  expect(found).toMatchObject({ method: "kvault.v1.Inference/Query", outcome: "OK", contextName: name, model: MODEL });
  expect(found.attempts.map(({ decision, outcome }) => [decision, outcome])).toEqual([
    ["resident", "ENGINE_DIED"],
    ["retry", "OK"],
  ]);
  expect(found.attempts[0]?.worker).not.toBe(found.attempts[1]?.worker);
  expect(found).toMatchObject({ timings: { ttftMs: 7 }, usage: { newTokens: 1 } });
  expect(JSON.stringify(found, (_, value) => (typeof value === "bigint" ? String(value) : value))).not.toContain(SECRET);
});

test("says what the making of a context cost, phase by phase", async () => {
  const stack = await startStack();
  const cluster = createClient(Cluster, stack.channel);
  const operation = await stack.contexts.createContext(
    { model: MODEL, content: { content: { case: "text", value: "A text." } } },
    { requestId: "c-1" },
  );
  await stack.operations.waitOperation({ name: operation.name });
  const found = await cluster.explainRequest({ requestId: "c-1" });
  expect(found).toMatchObject({ method: "kvault.v1.Contexts/CreateContext", outcome: "OK" });
  expect(found.contextName).toBe(`contexts/${idOf(found.contextName)}`);
  expect(found.context?.report).toBeDefined();
});

test("what failed before any worker is explained too; what nobody sent is not found", async () => {
  const stack = await startStack();
  const cluster = createClient(Cluster, stack.channel);
  const name = await created(stack, "A text.");
  const value = `${name.slice(0, -1)}${name.endsWith("0") ? "1" : "0"}`;
  const source = { case: "context", value } as const;
  await failureOf(collect(stack.inference.query({ source, question: "What?" }, { requestId: "q-2" })));
  expect(await cluster.explainRequest({ requestId: "q-2" })).toMatchObject({ outcome: "CONTEXT_NOT_FOUND", attempts: [] });
  expect((await failureOf(cluster.explainRequest({ requestId: "q-3" }))).code).toBe("REQUEST_NOT_FOUND");
});

test("a tenant gets nothing of another tenant's requests", async () => {
  const stack = await startSecureStack();
  const acme = stack.as((await stack.issue("acme")).token);
  const globex = stack.as((await stack.issue("globex")).token);
  await acme.contexts.createContext(
    { model: MODEL, content: { content: { case: "text", value: "A text." } } },
    { requestId: "shared-id" },
  );
  const of = (channel: typeof acme.channel) => createClient(Cluster, channel).explainRequest({ requestId: "shared-id" });
  expect(await of(acme.channel)).toMatchObject({ outcome: "OK" });
  expect((await failureOf(of(globex.channel))).code).toBe("REQUEST_NOT_FOUND");
});
