import { setTimeout as sleep } from "node:timers/promises";
import { METRICS } from "@kvault/telemetry";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ClusterProcesses, startClusterProcesses } from "../cluster/cluster-processes.ts";
import { type OtlpReceiver, type ReceivedSpan, startOtlpReceiver } from "../telemetry/otlp-receiver.ts";
import { type Api, ask, build, connect, createRequest } from "./support/api.ts";
import { freePort, kvault } from "./support/kvault.ts";
import { LETTER } from "./support/texts.ts";

/** Said in the context, in the question and as a label: it must stay there. */
const CANARY = "zanzibarquux";
const PATIENCE_MS = 30_000;

let receiver: OtlpReceiver;
let cluster: ClusterProcesses;
let api: Api;
const metricsPorts = { gateway: 0, prefill: 0, decode: 0 };

beforeAll(async () => {
  receiver = await startOtlpReceiver();
  for (const role of ["gateway", "prefill", "decode"] as const) metricsPorts[role] = await freePort();
  const otel = {
    OTEL_EXPORTER_OTLP_ENDPOINT: receiver.endpoint,
    OTEL_BSP_SCHEDULE_DELAY: "200",
    OTEL_METRIC_EXPORT_INTERVAL: "500",
  };
  const env = (role: keyof typeof metricsPorts) => ({ ...otel, KVAULT_METRICS_ADDRESS: `${metricsPorts[role]}` });
  cluster = await startClusterProcesses({
    prefillWorkers: 1,
    decodeWorkers: 1,
    threads: 1,
    env: { gateway: env("gateway"), prefill: env("prefill"), decode: env("decode") },
  });
  api = await connect(cluster.address);
});
afterAll(async () => {
  api?.close();
  await cluster?.stop();
  await receiver?.close();
});

async function scrape(role: keyof typeof metricsPorts): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${metricsPorts[role]}/metrics`);
  return response.text();
}

/** Spans of the trace that has a span of this service and name, once `isWhole` says that nothing is missing. */
async function traceWith(
  service: string,
  name: string,
  isWhole: (names: ReadonlySet<string>) => boolean,
): Promise<ReceivedSpan[]> {
  let names: string[] = [];
  for (const startMs = performance.now(); performance.now() - startMs < PATIENCE_MS; await sleep(100)) {
    const spans = receiver.spans();
    const roots = spans.filter((span) => span.service === service && span.name === name);
    for (const { traceId } of roots) {
      const trace = spans.filter((span) => span.traceId === traceId);
      names = trace.map((span) => `${span.service}: ${span.name}`);
      if (isWhole(new Set(names))) return trace;
    }
  }
  throw new Error(`no whole trace with ${service}: ${name}; the last had\n${[...new Set(names)].sort().join("\n")}`);
}

const all =
  (...wanted: readonly string[]) =>
  (names: ReadonlySet<string>): boolean =>
    wanted.every((name) => names.has(name));

test("one trace goes from the caller through queue, engines and store; what was written is in none of it", async () => {
  const text = `${LETTER}\nThe secret word is ${CANARY}.`;
  const context = await build(api, { ...createRequest(text), displayName: CANARY });
  const { answer } = await ask(api, context.name, `What does ${CANARY} mean?`, 8);
  expect(answer.usage?.newTokens).toBeGreaterThan(0);
  const kept = await api.contexts.inspectContext({ name: context.name, content: { content: { case: "text", value: text } } });
  expect(kept.text.map((piece) => piece.text).join("")).toBe(text);

  const building = await traceWith(
    "kvault-gateway",
    "kvault.v1.Contexts/CreateContext",
    all(
      "kvault-prefill-engine: engine build",
      "kvault-prefill-engine: prefill",
      "kvault-prefill-engine: prefill chunk",
      "kvault-prefill-engine: score",
      "kvault-prefill-engine: compress",
      "kvault-prefill-engine: store put",
      "kvault-prefill-engine: commit manifest",
    ),
  );
  // The job's own spans are bullmq-otel's: one where it is added, one where it runs.
  expect(building.some(({ service, name }) => service === "kvault-gateway" && /add|builds/.test(name))).toBe(true);
  expect(building.some(({ service, name }) => service === "kvault-prefill-worker" && /process/.test(name))).toBe(true);
  expectWhole(building);

  const asking = await traceWith(
    "kvault-gateway",
    "kvault.v1.Inference/Query",
    all(
      `kvault-gateway: chat ${context.model.replace("models/", "")}`,
      "kvault-gateway: route",
      "kvault-gateway: kvault.v1.Workers/Execute",
      "kvault-decode-worker: kvault.v1.Workers/Execute",
      "kvault-decode-engine: engine query",
      "kvault-decode-engine: load",
      "kvault-decode-engine: first token",
      "kvault-decode-engine: steps",
    ),
  );
  expectWhole(asking);
  expect(asking.length).toBeLessThan(60);

  const metrics = await Promise.all((["gateway", "prefill", "decode"] as const).map(scrape));
  for (const name of ["/v1/traces", "/v1/metrics"]) expect(receiver.paths()).toContain(name);
  const logs = [cluster.gateway, ...cluster.prefill, ...cluster.decode].map((process) => process.log());
  expect(receiver.bodies().some((body) => body.includes(CANARY))).toBe(false);
  expect([...metrics, ...logs].some((text) => text.includes(CANARY))).toBe(false);
  // The canary is looked for where it could be found: logs have the trace.
  expect(logs[0]).toContain(asking[0]?.traceId);
});

test("every process tells its metrics, and no metric that is not in the table", async () => {
  // Contexts are counted now and then, not at every look.
  const active = async (): Promise<number> => valueIn(await scrape("gateway"), 'kvault_contexts{state="active"}');
  await expect.poll(active, { timeout: PATIENCE_MS }).toBeGreaterThanOrEqual(1);
  const [gateway, prefill, decode] = await Promise.all((["gateway", "prefill", "decode"] as const).map(scrape));
  expect(valueIn(gateway, "kvault_backlog_seconds")).toBe(0);
  expect(valueIn(gateway, 'kvault_builds_total{outcome="ok"}')).toBeGreaterThanOrEqual(1);
  expect(gateway).toMatch(/gen_ai_server_time_to_first_token_count\{gen_ai_request_model="[\w.-]+"\} \d/);
  expect(valueIn(prefill, "kvault_prefill_seconds_count")).toBeGreaterThanOrEqual(1);
  expect(valueIn(prefill, "kvault_compression_ratio_sum")).toBeLessThan(1);
  expect(valueIn(decode, "kvault_resident_bytes")).toBeGreaterThan(0);
  expect(valueIn(decode, "kvault_num_requests_running")).toBe(0);
  expect(valueIn(decode, "kvault_decode_occupancy")).toBe(0);
  expect(decode).toContain("kvault_lookup_total{");
  for (const text of [gateway ?? "", prefill ?? "", decode ?? ""]) {
    expect(text).toContain("nodejs_eventloop_utilization ");
    const told = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
    expect(told.filter((name) => name !== "target_info" && !Object.hasOwn(METRICS, name ?? ""))).toEqual([]);
  }
});

test("kvault explain says how a question was routed and what it cost, kvault doctor finds the cluster in order", async () => {
  const context = await build(api, createRequest(LETTER));
  const requestId = "explain-me";
  for await (const _ of api.inference.query(
    { source: { case: "context", value: context.name }, question: "Who?", limits: { maxTokens: 4 } },
    { requestId },
  ));
  const explained = await kvault(["explain", requestId, "--address", cluster.address, "--json"]);
  expect(explained.json).toMatchObject({ requestId, outcome: "OK", contextName: context.name, attempts: [{ outcome: "OK" }] });
  const unknown = await kvault(["explain", "nobody", "--address", cluster.address, "--json"]);
  expect(unknown.code).toBe(1);
  const doctor = await kvault(["doctor", "--address", cluster.address, "--json"]);
  expect(doctor.json).toMatchObject({ ok: true });
});

/** One trace id, and every span but the first hangs on another. */
function expectWhole(trace: readonly ReceivedSpan[]): void {
  const ids = new Set(trace.map(({ spanId }) => spanId));
  const roots = trace.filter(({ parentId }) => parentId === "");
  expect(roots).toHaveLength(1);
  expect(trace.filter(({ parentId }) => parentId !== "" && !ids.has(parentId)).map(({ name }) => name)).toEqual([]);
}

function valueIn(text: string | undefined, series: string): number {
  const line = text?.split("\n").find((each) => each.startsWith(`${series} `));
  return Number(line?.slice(series.length + 1) ?? Number.NaN);
}
