/**
 * The OpenTelemetry SDK, put together: the only file that imports it.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import { DiagLogLevel, diag, metrics, trace } from "@opentelemetry/api";
import { PrometheusExporter } from "@opentelemetry/exporter-prometheus";
import { detectResources, envDetector, resourceFromAttributes } from "@opentelemetry/resources";
import {
  type IMetricReader,
  MeterProvider,
  PeriodicExportingMetricReader,
  type PushMetricExporter,
} from "@opentelemetry/sdk-metrics";
import { BatchSpanProcessor, NodeTracerProvider, type SpanExporter } from "@opentelemetry/sdk-trace-node";
import { useMeter, watchGauge } from "./metrics.ts";
import { listenPlace, type Protocol, type Telemetry, type TelemetryOptions, type TelemetryPlan } from "./plan.ts";
import { useTracer } from "./trace.ts";

const DEFAULT_METRIC_INTERVAL_MS = 60_000;
/** What a process that ends gives a collector that does not answer. */
const CLOSE_MS = 2_000;
const DELAY_RESOLUTION_MS = 10;

export async function openSdk({ service, metricsAddress, env }: TelemetryOptions, plan: TelemetryPlan): Promise<Telemetry> {
  diag.disable();
  if (env["OTEL_LOG_LEVEL"]?.toLowerCase() === "debug") diag.setLogger(standardError, DiagLogLevel.DEBUG);
  const resource = resourceFromAttributes({
    "service.name": env["OTEL_SERVICE_NAME"] ?? service,
    "service.namespace": "kvault",
    "service.instance.id": randomUUID(),
    "process.pid": process.pid,
  }).merge(detectResources({ detectors: [envDetector] }));
  const closers: (() => Promise<void>)[] = [];

  const readers: IMetricReader[] = [];
  if (metricsAddress !== undefined) readers.push(await servePrometheus(metricsAddress));
  if (plan.metrics !== undefined) {
    const exportIntervalMillis = Number(env["OTEL_METRIC_EXPORT_INTERVAL"]) || DEFAULT_METRIC_INTERVAL_MS;
    const exporter = await metricExporter(plan.metrics);
    const exportTimeoutMillis = Math.min(exportIntervalMillis, Number(env["OTEL_METRIC_EXPORT_TIMEOUT"]) || 30_000);
    readers.push(new PeriodicExportingMetricReader({ exporter, exportIntervalMillis, exportTimeoutMillis }));
  }
  if (readers.length > 0) {
    const provider = new MeterProvider({ resource, readers });
    useMeter(provider.getMeter("kvault"));
    const unwatch = watchEventLoop();
    closers.push(async () => {
      unwatch();
      useMeter(undefined);
      metrics.disable();
      await provider.shutdown();
    });
  }
  if (plan.traces !== undefined) {
    const provider = new NodeTracerProvider({
      resource,
      spanProcessors: [new BatchSpanProcessor(await spanExporter(plan.traces))],
    });
    provider.register();
    useTracer(provider.getTracer("kvault"));
    closers.push(async () => {
      useTracer(undefined);
      await provider.shutdown();
      trace.disable();
    });
  }
  let closing: Promise<void> | undefined;
  return {
    close() {
      closing ??= within(CLOSE_MS, Promise.allSettled(closers.map((close) => close())));
      return closing;
    },
  };
}

async function servePrometheus(address: string): Promise<PrometheusExporter> {
  const exporter = new PrometheusExporter({ ...listenPlace(address), preventServerStart: true, withoutScopeInfo: true });
  await exporter.startServer().catch((error: unknown) => {
    throw new TypeError(`Cannot serve metrics at "${address}": ${error instanceof Error ? error.message : String(error)}`);
  });
  return exporter;
}

async function spanExporter(protocol: Protocol): Promise<SpanExporter> {
  const { OTLPTraceExporter } =
    protocol === "grpc"
      ? await import("@opentelemetry/exporter-trace-otlp-grpc")
      : await import("@opentelemetry/exporter-trace-otlp-proto");
  return new OTLPTraceExporter();
}

async function metricExporter(protocol: Protocol): Promise<PushMetricExporter> {
  const { OTLPMetricExporter } =
    protocol === "grpc"
      ? await import("@opentelemetry/exporter-metrics-otlp-grpc")
      : await import("@opentelemetry/exporter-metrics-otlp-proto");
  return new OTLPMetricExporter();
}

/** How late callbacks run and how busy the loop is, each since the last look. */
function watchEventLoop(): () => void {
  const delay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS });
  delay.enable();
  let before = performance.eventLoopUtilization();
  const seconds = (percentile: number): number => Math.max(0, delay.percentile(percentile) / 1e9 - DELAY_RESOLUTION_MS / 1e3);
  const unwatch = [
    watchGauge("nodejs_eventloop_delay_p50", () => seconds(50)),
    watchGauge("nodejs_eventloop_delay_p90", () => seconds(90)),
    watchGauge("nodejs_eventloop_delay_p99", () => seconds(99)),
    watchGauge("nodejs_eventloop_utilization", () => {
      const now = performance.eventLoopUtilization();
      const { utilization } = performance.eventLoopUtilization(now, before);
      before = now;
      delay.reset();
      return utilization;
    }),
  ];
  return () => {
    delay.disable();
    for (const end of unwatch) end();
  };
}

const tell = (message: string, ...details: unknown[]): void =>
  void process.stderr.write(
    `${JSON.stringify({ level: "debug", service: "opentelemetry", msg: message, details: details.map(String) })}\n`,
  );
const standardError = { error: tell, warn: tell, info: tell, debug: tell, verbose: tell };

async function within(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, late]).finally(() => clearTimeout(timer));
}
