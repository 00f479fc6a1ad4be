/**
 * What is asked for of a process's telemetry, by options and the standard `OTEL_*` variables.
 *
 * @module
 */

type Environment = Readonly<Record<string, string | undefined>>;

export interface TelemetryOptions {
  /** `service.name` unless OTEL_SERVICE_NAME says another, e.g. `kvault-gateway`. */
  readonly service: string;
  /** Where metrics can be asked for: `host:port`, or a port of this machine alone. */
  readonly metricsAddress?: string | undefined;
  /** Where the `OTEL_*` variables are. */
  readonly env: Environment;
}

export interface Telemetry {
  /** Sends what is left, for a moment at most. Idempotent. */
  close(): Promise<void>;
}

/** What `env` asks for. */
export interface TelemetryPlan {
  readonly traces: Protocol | undefined;
  readonly metrics: Protocol | undefined;
}

export type Protocol = "http/protobuf" | "grpc";

/** TypeError for a protocol that is not spoken. */
export function telemetryPlan(env: Environment): TelemetryPlan {
  return { traces: protocolOf(env, "TRACES"), metrics: protocolOf(env, "METRICS") };
}

function protocolOf(env: Environment, signal: "TRACES" | "METRICS"): Protocol | undefined {
  if (env["OTEL_SDK_DISABLED"]?.toLowerCase() === "true" || env[`OTEL_${signal}_EXPORTER`] === "none") return undefined;
  const endpoint = env[`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`] ?? env["OTEL_EXPORTER_OTLP_ENDPOINT"] ?? "";
  if (endpoint === "") return undefined;
  const variable = `OTEL_EXPORTER_OTLP_${signal}_PROTOCOL`;
  const protocol = env[variable] ?? env["OTEL_EXPORTER_OTLP_PROTOCOL"] ?? "http/protobuf";
  if (protocol === "http/protobuf" || protocol === "grpc") return protocol;
  throw new TypeError(
    `Cannot send ${signal.toLowerCase()}: OTEL_EXPORTER_OTLP_PROTOCOL is "${protocol}", http/protobuf and grpc are spoken`,
  );
}

/** `host:port`, `[v6]:port`, or a port alone: then of this machine. TypeError for anything else. */
export function listenPlace(address: string): { readonly host: string; readonly port: number } {
  const [, v6, name, digits = ""] = /^(?:(?:\[([0-9a-fA-F:]+)\]|([^\s:]*)):)?(\d{1,5})$/.exec(address) ?? [];
  const port = Number(digits);
  if (digits === "" || port < 1 || port > 65_535)
    throw new TypeError(`Cannot serve metrics at "${address}": not host:port or a port`);
  return { host: v6 ?? (name === undefined || name === "" ? "127.0.0.1" : name), port };
}
