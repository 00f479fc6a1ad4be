/**
 * Structured logs: one JSON object a line, a constant message, ids and durations as fields.
 *
 * A line written within a trace carries its ids (`trace_id`, `span_id`).
 *
 * What a customer wrote (contexts, questions, answers) is never logged: fields with the names
 * below are replaced at any of the first levels even when a caller slips, as are secrets.
 *
 * @module
 */
import { type DestinationStream, type Logger, pino, stdSerializers } from "pino";
import { traceIds } from "./trace.ts";

export type { Logger };

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";

export interface LoggerOptions {
  /** Process or embedded service, e.g. `gateway`. */
  readonly service: string;
  readonly level?: LogLevel;
  /** Where lines go; standard error when absent, so that standard output stays for results. */
  readonly destination?: DestinationStream;
}

/** Field names whose values never reach a log. */
const REDACTED_FIELDS = [
  "text",
  "content",
  "context",
  "question",
  "questions",
  "answer",
  "messages",
  "prompt",
  "token",
  "authorization",
  "password",
  "secret",
  "key",
] as const;

/** Levels of nesting searched for {@link REDACTED_FIELDS}. */
const REDACTED_DEPTH = 3;

/** A logger for one service; `logger.child({ component })` for its parts. */
export function createLogger(options: LoggerOptions): Logger {
  const paths = Array.from({ length: REDACTED_DEPTH }, (_, depth) =>
    REDACTED_FIELDS.map((field) => `${"*.".repeat(depth)}${field}`),
  ).flat();
  return pino(
    {
      level: options.level ?? "info",
      base: { service: options.service },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: stdSerializers.err },
      mixin: traceIds,
      redact: { paths, censor: "[redacted]" },
    },
    options.destination ?? pino.destination(2),
  );
}
