import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Context_State, Progress_Phase } from "@kvault/rpc";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ask, build, createRequest, refusal, submit, untilActive } from "./support/api.ts";
import { type Cluster, startCluster } from "./support/cluster.ts";
import { fresh, LETTER, SOME_OPTICKS } from "./support/texts.ts";

const QUESTION = "What colour is the boat?";

describe("three services as separate processes", () => {
  let folder = "";
  let cluster: Cluster;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "kvault-e2e-"));
    cluster = await startCluster(folder);
  });
  afterAll(async () => {
    await cluster.stop();
    await rm(folder, { recursive: true, force: true });
  });

  test("build a context and stream an answer", async () => {
    const { api } = cluster;
    const context = await build(api, createRequest(LETTER));
    expect(context.report?.keptPairs).toBeLessThan(context.report?.totalPairs ?? 0n);
    const { pieces, answer } = await ask(api, context.name, QUESTION);
    expect(pieces.length).toBeGreaterThan(1);
    expect(pieces.join("")).toBe(answer.text);
    expect(answer.usage?.newTokens).toBeGreaterThan(0);
    const again = await ask(api, context.name, QUESTION);
    expect(again.answer.text).toBe(answer.text);
    expect(again.answer.cache?.reason).toBe("RESIDENT");
  });

  test("answer sixteen streams at once, and sixteen questions of one call", async () => {
    const { api } = cluster;
    const { name } = await build(api, createRequest(LETTER));
    const questions = Array.from({ length: 16 }, (_, index) => `Question ${index}: what is said about the boat?`);
    const streamed = await Promise.all(questions.map((question) => ask(api, name, question, 12)));
    for (const { pieces, answer } of streamed) {
      expect(pieces.join("")).toBe(answer.text);
      expect(answer.usage?.newTokens).toBeGreaterThan(0);
    }
    const answered: number[] = [];
    const text = new Map<number, string>();
    const request = { context: name, questions: questions.map((question) => ({ question, limits: { maxTokens: 12 } })) };
    for await (const { index, event } of api.inference.queryBatch(request)) {
      if (event.case === "delta") text.set(index, (text.get(index) ?? "") + event.value.text);
      if (event.case !== "answer") continue;
      expect(text.get(index)).toBe(event.value.text);
      answered.push(index);
    }
    expect(answered.sort((a, b) => a - b)).toEqual([...questions.keys()]);
  });

  test("a client that leaves while the context is built: the build goes on and answers others", async () => {
    const { api } = cluster;
    const name = await submit(api, createRequest(fresh(LETTER, "Left early.")));
    const leaving = new AbortController();
    const watch = (async () => {
      for await (const { context } of api.contexts.watchContext({ name }, { signal: leaving.signal })) {
        if (context !== undefined) leaving.abort();
      }
    })();
    expect((await refusal(watch)).code).toBe("CANCELLED");
    const context = await untilActive(api, name);
    expect(context.state).toBe(Context_State.ACTIVE);
  });

  test("deleting a context while it is built ends the build and leaves nothing", async () => {
    const { api } = cluster;
    const name = await submit(api, createRequest(fresh(SOME_OPTICKS, "Deleted early.")));
    for await (const { context } of api.contexts.watchContext({ name })) {
      if (context?.progress?.phase === Progress_Phase.PREFILL) break;
    }
    await api.contexts.deleteContext({ name });
    expect((await refusal(api.contexts.getContext({ name }))).code).toBe("CONTEXT_NOT_FOUND");
    await cluster.quiet();
    expect(cluster.records()).not.toContain(name.replace("contexts/", ""));
  });

  test("a client that leaves mid-stream frees the engine for the next", async () => {
    const { api } = cluster;
    const { name } = await build(api, createRequest(LETTER));
    const leaving = new AbortController();
    const left = (async () => {
      const request = {
        source: { case: "context" as const, value: name },
        question: "Retell everything.",
        limits: { maxTokens: 2000 },
      };
      for await (const { event } of api.inference.query(request, { signal: leaving.signal })) {
        if (event.case === "delta") leaving.abort();
      }
    })();
    expect((await refusal(left)).code).toBe("CANCELLED");
    await cluster.quiet();
    const { answer } = await ask(api, name, QUESTION, 4);
    expect(answer.usage?.newTokens).toBeGreaterThan(0);
  });

  test("a deadline that passes mid-stream is DEADLINE_EXCEEDED", async () => {
    const { api } = cluster;
    const { name } = await build(api, createRequest(LETTER));
    await ask(api, name, QUESTION, 2);
    const error = await refusal(ask(api, name, "Retell everything.", 2000, { deadlineMs: Date.now() + 700 }));
    expect(error.code).toBe("DEADLINE_EXCEEDED");
    await cluster.quiet();
  });

  test("an engine killed while reading: the worker stays healthy and the job completes", async () => {
    const { api } = cluster;
    const name = await submit(api, createRequest(fresh(SOME_OPTICKS, "Killed while reading.")));
    let kills = 0;
    const context = await untilActive(api, name, ({ progress }) => {
      if (kills > 0 || progress?.phase !== Progress_Phase.PREFILL || progress.done === 0) return;
      for (const pid of cluster.prefill.engines()) {
        process.kill(pid, "SIGKILL");
        kills += 1;
      }
    });
    expect(kills).toBe(1);
    expect(context.state).toBe(Context_State.ACTIVE);
    expect((await cluster.status()).prefill.engineRestarts).toBe(1);
    expect(cluster.prefill.engines()).toHaveLength(1);
  });

  test("an engine killed while answering: a retryable error or the whole answer, then answers again", async () => {
    const { api } = cluster;
    const { name } = await build(api, createRequest(LETTER));
    const expected = await ask(api, name, QUESTION);
    const request = {
      source: { case: "context" as const, value: name },
      question: "Retell everything.",
      limits: { maxTokens: 200 },
    };
    let kills = 0;
    const answering = (async () => {
      for await (const { event } of api.inference.query(request)) {
        if (event.case !== "delta" || kills > 0) continue;
        for (const pid of cluster.decode.engines()) {
          process.kill(pid, "SIGKILL");
          kills += 1;
        }
      }
    })();
    const outcome = await answering.then(
      () => "answered",
      (error: unknown) => error,
    );
    expect(kills).toBe(1);
    if (outcome !== "answered") expect(outcome).toMatchObject({ code: "ENGINE_DIED", retryable: true });
    expect((await cluster.status()).decode.engineRestarts).toBeGreaterThanOrEqual(0);
    let after = await ask(api, name, QUESTION).catch(() => undefined);
    for (let tries = 0; after === undefined && tries < 20; tries++) {
      await sleep(250);
      after = await ask(api, name, QUESTION).catch(() => undefined);
    }
    expect(after?.answer.text).toBe(expected.answer.text);
  });
});
