/** @kvault/client against real processes: a context's life, questions, and gateways that are killed. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type KvaultClient, openClient } from "@kvault/client";
import { trace } from "@opentelemetry/api";
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { refusal } from "./support/api.ts";
import { freePort, type RunningProcess, SMALL_MODEL, start } from "./support/kvault.ts";
import { LETTER } from "./support/texts.ts";

describe("@kvault/client", () => {
  let dataDir = "";
  let port = 0;
  let up: RunningProcess;
  let client: KvaultClient;
  let name = "";

  const startUp = (): Promise<RunningProcess> =>
    start(["up", "--json", "--no-http", "--address", `127.0.0.1:${port}`, "--data-dir", dataDir]);

  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), "kvault-e2e-"));
    port = await freePort();
    up = await startUp();
    client = openClient(`127.0.0.1:${port}`);
  });
  afterAll(async () => {
    client.close();
    await up.stop();
    await rm(dataDir, { recursive: true, force: true });
  });

  test("makes a context, shows its progress, finds it again, and makes it of any source once", async () => {
    const phases = new Set<string>();
    const settings = { model: SMALL_MODEL, method: "kvzip", keepRatio: 0.5, labels: { kind: "letter" } };
    const context = await client.contexts.create(
      { text: LETTER },
      { ...settings, onChange: ({ progress }) => phases.add(progress?.phase ?? "") },
    );
    name = context.name;
    expect(context).toMatchObject({ state: "ACTIVE", labels: { kind: "letter" }, createTime: expect.any(Date) });
    expect(context.report?.keptRatio).toBeCloseTo(0.5, 1);
    expect(phases.size).toBeGreaterThan(1);
    async function* pieces(): AsyncGenerator<string> {
      for (const line of LETTER.split(/(?<=\n)/)) yield line;
    }
    expect((await client.contexts.create({ stream: pieces() }, settings)).name).toBe(name);
    const listed: string[] = [];
    for await (const each of client.contexts.list({ labels: { kind: "letter" } })) listed.push(each.name);
    expect(listed).toEqual([name]);
  });

  test("streams an answer whose pieces are its text, the same every time", async () => {
    const stream = client.query(name, "What colour is the boat?", { maxTokens: 24 });
    let text = "";
    for await (const piece of stream) text += piece.text;
    const again = await client.query(name, "What colour is the boat?", { maxTokens: 24 }).answer();
    expect(again.text).toBe(text);
    expect(again.usage.newTokens).toBeGreaterThan(0);
    expect(again.cache.tier).toBe("memory");
  });

  test("questions together, and in a conversation", async () => {
    const answers: string[] = [];
    for await (const event of client.queryMany(name, ["Who writes?", "Who sails?"], { maxTokens: 8 })) {
      if (event.type === "answer") answers[event.index] = event.answer.text;
    }
    expect(answers.filter((text) => text !== "")).toHaveLength(2);
    const chat = client.conversation(name, { maxTokens: 8 });
    const first = await chat.ask("Who writes?").answer();
    const second = await chat.ask("To whom?").answer();
    expect(second.usage.questionTokens).toBeGreaterThan(first.usage.questionTokens);
    expect(chat.turns).toHaveLength(4);
  });

  test("with tracing, calls join the trace that the program has of its own", async () => {
    const exporter = new InMemorySpanExporter();
    const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
    provider.register();
    const traced = openClient(`127.0.0.1:${port}`, { tracing: true });
    try {
      await trace.getTracer("program").startActiveSpan("outer", async (outer) => {
        await traced.contexts.get(name);
        outer.end();
      });
      const [call, outer] = exporter.getFinishedSpans();
      expect(call?.name).toBe("kvault.v1.Contexts/GetContext");
      expect(call?.parentSpanContext?.spanId).toBe(outer?.spanContext().spanId);
    } finally {
      traced.close();
      await provider.shutdown();
      trace.disable();
    }
  });

  test("refusals are typed and name the field", async () => {
    expect(await refusal(client.query(name, " ").answer())).toMatchObject({
      code: "INVALID_ARGUMENT",
      details: { field: "question" },
    });
    expect(await refusal(client.contexts.get(`c${"0".repeat(32)}`))).toMatchObject({ code: "CONTEXT_NOT_FOUND" });
    const tooLong = client.contexts.create({ text: "word ".repeat(20_000) }, { model: SMALL_MODEL });
    expect(await refusal(tooLong)).toMatchObject({ code: "TOKEN_LIMIT" });
  });

  test.each([
    ["greedy", {}],
    ["drawn", { temperature: 0.8 }],
  ])(
    "a killed gateway does not end an answer that is %s: it goes on, token for token, at the one that comes back",
    async (_, drawing) => {
      const question = "Retell the letter in your own words.";
      const settings = { maxTokens: 48, ...drawing };
      const seed = 11;
      const whole = await client.query(name, question, { ...settings, seed }).answer();
      const patient = openClient(`127.0.0.1:${port}`, { retry: { maxAttempts: 60, initialMs: 200, maxMs: 1_000 } });
      try {
        const stream = patient.query(name, question, { ...settings, seed });
        let text = "";
        for (let i = 0; i < 3; i++) text += ((await stream.next()).value as { text: string }).text;
        up.kill("SIGKILL");
        await up.stop();
        up = await startUp();
        const tokenIds: number[] = [];
        for (;;) {
          const { done, value } = await stream.next();
          if (done === true) {
            expect(value).toMatchObject({ resumes: 1, text: whole.text, seed });
            break;
          }
          text += value.text;
          tokenIds.push(...value.tokenIds);
        }
        expect(text).toBe(whole.text);
        expect(tokenIds.length).toBeLessThan(whole.usage.newTokens);
      } finally {
        patient.close();
      }
    },
  );

  test("delete, undelete, purge", async () => {
    expect((await client.contexts.delete(name))?.state).toBe("DELETED");
    expect(await client.contexts.undelete(name)).toMatchObject({ state: "ACTIVE" });
    expect(await client.contexts.delete(name, { purge: true })).toBeUndefined();
    expect(await refusal(client.contexts.get(name))).toMatchObject({ code: "CONTEXT_NOT_FOUND" });
  });
});
