/**
 * Every metric there is: name, kind, unit, labels, buckets. Names are promises: dashboards, alerts
 * and autoscalers are built on them (docs/observability.md is generated from this table).
 *
 * Recording costs one comparison while telemetry is off. Labels are few and of closed sets: never a
 * context, a tenant, a request, and never a word that somebody wrote.
 *
 * @module
 */
import type { Counter, Histogram, Meter, ObservableResult } from "@opentelemetry/api";

/** Key: the name as Prometheus has it. `otel`: the name over OTLP, when it is another. */
export const METRICS = {
  kvault_contexts: { type: "gauge", labels: ["state"], help: "Contexts by state; every gateway of a cluster tells the same." },
  kvault_context_bytes: {
    type: "gauge",
    labels: ["tier", "kind"],
    help: "Bytes of contexts: stored and raw (16-bit, uncompressed) in the store, resident in the memory of a decode worker.",
  },
  kvault_builds_total: { type: "counter", labels: ["outcome"], help: "Builds that ended: ok, or the code of their error." },
  kvault_compression_ratio: {
    type: "histogram",
    labels: [],
    buckets: [0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1],
    help: "Stored bytes over raw 16-bit bytes of each built context.",
  },
  kvault_prefill_seconds: { type: "histogram", labels: [], buckets: "seconds", help: "Prefill of each built context." },
  kvault_score_seconds: { type: "histogram", labels: [], buckets: "seconds", help: "Scoring of each built context." },
  kvault_build_seconds: { type: "histogram", labels: [], buckets: "seconds", help: "Each build from job to committed manifest." },
  kvault_backlog_tokens: {
    type: "gauge",
    labels: [],
    help: "Tokens of builds that wait and run, less what is read; every gateway of a cluster tells the same.",
  },
  kvault_backlog_seconds: {
    type: "gauge",
    labels: [],
    help: "What the backlog takes one prefill worker, at the speed of the last builds; every gateway tells the same.",
  },
  kvault_lookup_total: {
    type: "counter",
    labels: ["result", "reason"],
    help: "Queries that found their context resident (hit) or not (miss), and why.",
  },
  kvault_load_seconds: {
    type: "histogram",
    labels: ["tier"],
    buckets: "seconds",
    help: "Making a context resident for a query.",
  },
  kvault_load_bytes_total: { type: "counter", labels: ["tier"], help: "Bytes read to make contexts resident." },
  kvault_decode_inflight_tokens: {
    type: "gauge",
    labels: [],
    help: "Tokens generated so far of answers under way, plus one for each that has none yet.",
  },
  kvault_decode_batch_size: {
    type: "histogram",
    labels: [],
    buckets: [1, 2, 4, 8, 16, 32, 64, 128],
    help: "Queries under way on the same context when one begins.",
  },
  kvault_resident_bytes: { type: "gauge", labels: [], help: "Bytes of resident contexts." },
  kvault_kv_occupied_bytes: {
    type: "gauge",
    labels: [],
    help: "Bytes of resident contexts that are being answered on.",
  },
  kvault_kv_budget_bytes: { type: "gauge", labels: [], help: "Most bytes of resident contexts." },
  kvault_kv_cache_usage_perc: { type: "gauge", labels: [], help: "Occupied bytes over the budget, 0 to 1." },
  kvault_num_requests_running: { type: "gauge", labels: [], help: "Queries, or builds, under way." },
  kvault_num_requests_waiting: {
    type: "gauge",
    labels: [],
    help: "Queries that have no token yet, or builds behind the one that runs.",
  },
  kvault_decode_occupancy: {
    type: "gauge",
    labels: [],
    help: "The larger of running queries over their limit and occupied bytes over their budget, 0 to 1.",
  },
  kvault_evictions_total: { type: "counter", labels: ["reason"], help: "Contexts that stopped being resident." },
  kvault_integrity_failures_total: {
    type: "counter",
    labels: ["kind"],
    help: "Records or models whose bytes were not what they should be; never served.",
  },
  kvault_route_total: {
    type: "counter",
    labels: ["decision"],
    help: "Where queries were sent: resident, load, retry, move, none.",
  },
  kvault_lease_lost_total: { type: "counter", labels: [], help: "Leases lost to another holder." },
  kvault_engine_restarts_total: { type: "counter", labels: [], help: "Engine processes started again after a death." },
  kvault_workers: { type: "gauge", labels: ["role", "state"], help: "Workers this gateway knows: live or silent." },
  gen_ai_server_time_to_first_token: {
    type: "histogram",
    otel: "gen_ai.server.time_to_first_token",
    unit: "s",
    labels: ["gen_ai_request_model"],
    buckets: [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2_560],
    help: "Receipt of a query to its first token, seconds.",
  },
  gen_ai_server_time_per_output_token: {
    type: "histogram",
    otel: "gen_ai.server.time_per_output_token",
    unit: "s",
    labels: ["gen_ai_request_model"],
    buckets: [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5],
    help: "Mean gap between the tokens of an answer after the first, seconds.",
  },
  gen_ai_server_request_duration: {
    type: "histogram",
    otel: "gen_ai.server.request.duration",
    unit: "s",
    labels: ["gen_ai_request_model", "error_type"],
    buckets: [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 655.36],
    help: "Receipt of a query to the end of its answer, seconds.",
  },
  gen_ai_client_token_usage: {
    type: "histogram",
    otel: "gen_ai.client.token.usage",
    unit: "{token}",
    labels: ["gen_ai_request_model", "gen_ai_token_type"],
    buckets: [1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864],
    help: "Tokens of each query: input (context and question) and output.",
  },
  rpc_server_call_duration: {
    type: "histogram",
    otel: "rpc.server.call.duration",
    unit: "s",
    labels: ["rpc_method", "error_type"],
    buckets: [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10],
    help: "Calls served, seconds; error_type is empty for those that ended well.",
  },
  nodejs_eventloop_delay_p50: { type: "gauge", otel: "nodejs.eventloop.delay.p50", unit: "s", labels: [], help: "Seconds." },
  nodejs_eventloop_delay_p90: { type: "gauge", otel: "nodejs.eventloop.delay.p90", unit: "s", labels: [], help: "Seconds." },
  nodejs_eventloop_delay_p99: {
    type: "gauge",
    otel: "nodejs.eventloop.delay.p99",
    unit: "s",
    labels: [],
    help: "Seconds that callbacks waited since the last look, 99 of 100 less.",
  },
  nodejs_eventloop_utilization: {
    type: "gauge",
    otel: "nodejs.eventloop.utilization",
    unit: "1",
    labels: [],
    help: "Share of time the event loop was busy since the last look.",
  },
} as const;

/** Buckets `seconds`: from a token to a long prefill. */
const SECONDS: readonly number[] = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600,
];

type Table = typeof METRICS;
type Named<Type extends string> = { [Name in keyof Table]: Table[Name]["type"] extends Type ? Name : never }[keyof Table];
export type MetricName = keyof Table;
type CounterName = Named<"counter">;
type HistogramName = Named<"histogram">;
type GaugeName = Named<"gauge">;

export type Labels = Readonly<Record<string, string>>;
/** One value, or one for each set of labels. */
export type Reading = number | readonly { readonly value: number; readonly labels: Labels }[];
type Read = () => Reading | Promise<Reading>;

let counters: Map<string, Counter> | undefined;
let histograms: Map<string, Histogram> | undefined;
const readers = new Map<GaugeName, Set<Read>>();

/** Whether metrics go anywhere. */
export function isMeasuring(): boolean {
  return counters !== undefined;
}

/** Adds to a counter. */
export function count(name: CounterName, value = 1, labels: Labels = {}): void {
  counters?.get(name)?.add(value, labels);
}

/** Adds a value to a histogram. */
export function observe(name: HistogramName, value: number, labels: Labels = {}): void {
  if (histograms !== undefined && Number.isFinite(value)) histograms.get(name)?.record(value, labels);
}

/** Asks `read` whenever somebody looks, until the function it returns is called. Several readers of one name add up. */
export function watchGauge(name: GaugeName, read: Read): () => void {
  const known = readers.get(name) ?? new Set();
  readers.set(name, known.add(read));
  return () => void known.delete(read);
}

/** Makes the instruments; undefined: there are none from now on. */
export function useMeter(meter: Meter | undefined): void {
  counters = meter === undefined ? undefined : new Map();
  histograms = meter === undefined ? undefined : new Map();
  if (meter === undefined) return;
  for (const [name, metric] of Object.entries(METRICS)) {
    const otelName = "otel" in metric ? metric.otel : name;
    const options = { description: metric.help, ...("unit" in metric ? { unit: metric.unit } : {}) };
    if (metric.type === "counter") counters?.set(name, meter.createCounter(otelName, options));
    else if (metric.type === "histogram") {
      const advice = { explicitBucketBoundaries: [...(metric.buckets === "seconds" ? SECONDS : metric.buckets)] };
      histograms?.set(name, meter.createHistogram(otelName, { ...options, advice }));
    } else meter.createObservableGauge(otelName, options).addCallback((result) => readInto(result, name as GaugeName));
  }
}

async function readInto(result: ObservableResult, name: GaugeName): Promise<void> {
  const sums = new Map<string, { value: number; readonly labels: Labels }>();
  for (const read of readers.get(name) ?? []) {
    const reading = await read();
    for (const { value, labels } of typeof reading === "number" ? [{ value: reading, labels: {} }] : reading) {
      const key = JSON.stringify(labels);
      sums.set(key, { value: value + (sums.get(key)?.value ?? 0), labels });
    }
  }
  for (const { value, labels } of sums.values()) result.observe(value, labels);
}
