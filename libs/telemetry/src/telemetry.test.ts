import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { createLogger } from "./logger.ts";
import { count, observe, watchGauge } from "./metrics.ts";
import { listenPlace, telemetryPlan } from "./plan.ts";
import { startTelemetry } from "./start.ts";
import { bindTrace, carriedTrace, inSpan, inSpanStream, isInTrace, isTracing, pastSpan, traceIds, underTrace } from "./trace.ts";

const open: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

/** Takes what is exported; the bytes of all of it. */
async function collector(): Promise<{ readonly endpoint: string; bytes(): string }> {
  const bodies: Buffer[] = [];
  const server: Server = createServer((request, response) => {
    request.on("data", (chunk: Buffer) => bodies.push(chunk)).on("end", () => response.end());
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  open.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { endpoint: `http://127.0.0.1:${port}`, bytes: () => Buffer.concat(bodies).toString("latin1") };
}

async function tracing() {
  const { endpoint, bytes } = await collector();
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_METRICS_EXPORTER: "none" };
  process.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint;
  const telemetry = await startTelemetry({ service: "kvault-test", env });
  open.push(() => {
    delete process.env["OTEL_EXPORTER_OTLP_ENDPOINT"];
    return telemetry.close();
  });
  return { telemetry, bytes };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe("while telemetry is off", () => {
  test("spans run their work and are nothing", async () => {
    expect(isTracing()).toBe(false);
    expect(await inSpan("a", {}, async () => carriedTrace())).toBeUndefined();
    const read: number[] = [];
    for await (const n of inSpanStream("s", {}, async function* () {
      yield* [1, 2];
    }))
      read.push(n);
    expect(read).toEqual([1, 2]);
    expect(traceIds()).toEqual({});
    const work = (): number => 1;
    expect(bindTrace(work)).toBe(work);
    count("kvault_lease_lost_total");
    observe("kvault_prefill_seconds", 1);
  });
});

describe("traces", () => {
  test("a context goes from process to process as a traceparent, into streams and log lines", async () => {
    const { telemetry, bytes } = await tracing();
    const seen = new Set<string | undefined>();
    const lines: string[] = [];
    const log = createLogger({ service: "s", destination: { write: (line: string) => void lines.push(line) } });
    let carried: string | undefined;
    await inSpan("first", {}, async () => {
      carried = carriedTrace();
      seen.add(traceIds().trace_id);
      log.info({}, "within");
    });
    expect(isInTrace()).toBe(false);
    await inSpan("second", { parent: carried, kind: "server" }, async () => {
      seen.add(traceIds().trace_id);
      pastSpan("steps", Date.now() - 10, Date.now(), { "gen_ai.usage.output_tokens": 3 });
      for await (const id of inSpanStream("stream", {}, async function* () {
        yield traceIds().trace_id;
        await new Promise((resolve) => setImmediate(resolve));
        yield traceIds().trace_id;
      }))
        seen.add(id);
    });
    seen.add(underTrace(carried, () => traceIds().trace_id));
    expect(seen.size).toBe(1);
    expect(JSON.parse(lines[0] ?? "{}")).toMatchObject({ trace_id: [...seen][0], msg: "within" });
    await telemetry.close();
    for (const name of ["first", "second", "steps", "stream", "kvault-test"]) expect(bytes()).toContain(name);
  });

  test("an error is told by its code, never by its message", async () => {
    const { telemetry, bytes } = await tracing();
    const failure = Object.assign(new Error("CANARY"), { code: "STORE_FULL" });
    await inSpan("failing", {}, () => Promise.reject(failure)).catch(() => undefined);
    await inSpan("failing", {}, () => Promise.reject(Object.assign(new Error("CANARY"), { code: "CANARY text" }))).catch(
      () => undefined,
    );
    await telemetry.close();
    expect(bytes()).toContain("STORE_FULL");
    expect(bytes()).not.toContain("CANARY");
  });

  test("a reader that leaves a stream ends its span and the stream", async () => {
    const { telemetry, bytes } = await tracing();
    let ended = false;
    for await (const _ of inSpanStream("left early", {}, async function* () {
      try {
        for (;;) yield 1;
      } finally {
        ended = true;
      }
    }))
      break;
    expect(ended).toBe(true);
    await telemetry.close();
    expect(bytes()).toContain("left early");
  });
});

describe("metrics", () => {
  test("are told at an address of the process's own; readers of one gauge add up", async () => {
    const port = await freePort();
    const telemetry = await startTelemetry({ service: "kvault-test", metricsAddress: `${port}`, env: {} });
    open.push(() => telemetry.close());
    count("kvault_builds_total", 2, { outcome: "ok" });
    observe("kvault_compression_ratio", 0.04);
    observe("kvault_compression_ratio", Number.NaN);
    open.push(watchGauge("kvault_num_requests_running", () => 3));
    open.push(watchGauge("kvault_num_requests_running", async () => 4));
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    expect(text).toContain('\nkvault_builds_total{outcome="ok"} 2\n');
    expect(text).toContain("\nkvault_compression_ratio_count 1\n");
    expect(text).toContain('\nkvault_compression_ratio_bucket{le="0.05"} 1\n');
    expect(text).toContain("\nkvault_num_requests_running 7\n");
    expect(text).toMatch(/\nnodejs_eventloop_utilization [\d.]+\n/);
  });

  test("an address that is taken is told at the start", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    open.push(() => server.close());
    const { port } = server.address() as AddressInfo;
    await expect(startTelemetry({ service: "s", metricsAddress: `${port}`, env: {} })).rejects.toThrow("EADDRINUSE");
  });
});

describe("what is asked for", () => {
  test.each([
    [{}, undefined, undefined],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4318" }, "http/protobuf", "http/protobuf"],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4317", OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" }, "grpc", "grpc"],
    [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://c:4318" }, "http/protobuf", undefined],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4318", OTEL_METRICS_EXPORTER: "none" }, "http/protobuf", undefined],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4318", OTEL_SDK_DISABLED: "true" }, undefined, undefined],
  ])("%j", (env, traces, metrics) => {
    expect(telemetryPlan(env)).toEqual({ traces, metrics });
  });

  test("a protocol that is not spoken is refused by name", () => {
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4318", OTEL_EXPORTER_OTLP_PROTOCOL: "http/json" };
    expect(() => telemetryPlan(env)).toThrow("http/json");
  });

  test.each([
    ["9464", "127.0.0.1", 9464],
    [":9464", "127.0.0.1", 9464],
    ["0.0.0.0:9464", "0.0.0.0", 9464],
    ["[::1]:9464", "::1", 9464],
  ])("metrics at %s", (address, host, port) => {
    expect(listenPlace(address)).toEqual({ host, port });
  });

  test.each(["", "host", "host:0", "host:70000", "a:b:9"])("not at %j", (address) => {
    expect(() => listenPlace(address)).toThrow(TypeError);
  });
});
