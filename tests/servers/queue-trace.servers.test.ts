import { openQueue } from "@kvault/queue";
import { trace } from "@opentelemetry/api";
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-node";
import { expect, test } from "vitest";
import { startRedis } from "./redis-server.ts";

/** A job whose data would be recognised. */
const SECRET = 271_828_182;

test("the handler of a job runs in the trace of the request that added it", async () => {
  const exporter = new InMemorySpanExporter();
  const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  provider.register();
  const redis = await startRedis();
  const url = `redis://127.0.0.1:${redis.port}/0`;
  const [producer, worker] = [openQueue<number, string, never>(url), openQueue<number, string, never>(url)];
  try {
    worker.process(async () => trace.getActiveSpan()?.spanContext().traceId ?? "none", { concurrency: 1 });
    const traceId = await trace.getTracer("test").startActiveSpan("create", async (span) => {
      await producer.add(SECRET, { key: "a" });
      span.end();
      return span.spanContext().traceId;
    });
    const events = [];
    for await (const event of producer.watch("a")) events.push(event);
    expect(events.at(-1)).toEqual({ type: "completed", result: traceId });
    const spans = exporter.getFinishedSpans().filter((span) => span.spanContext().traceId === traceId);
    expect(spans.map(({ name }) => name)).toContain("create");
    expect(spans.length).toBeGreaterThan(1);
    // Traces are read by more people than jobs are.
    const told = spans.map(({ attributes, events }) => JSON.stringify([attributes, events])).join();
    expect(told).not.toContain(`${SECRET}`);
  } finally {
    await Promise.all([producer.close({ drainMs: 0 }), worker.close({ drainMs: 0 })]);
    await redis.remove();
    await provider.shutdown();
  }
});
