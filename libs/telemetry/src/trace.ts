/**
 * Spans, and the context that follows a request through processes.
 *
 * While telemetry is off nothing here does anything: no span, no context, one comparison. What a
 * span carries is closed: ids, sizes, times, codes. Errors are told by their code alone, since a
 * message may quote what a caller wrote.
 *
 * @module
 */
import {
  type Attributes,
  context,
  propagation,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from "@opentelemetry/api";

export type { Attributes };

type Kind = "internal" | "server" | "client" | "producer" | "consumer";

export interface SpanOptions {
  readonly kind?: Kind;
  readonly attributes?: Attributes;
  /** A `traceparent` from elsewhere, in place of what runs here. */
  readonly parent?: string | undefined;
}

const KINDS: Readonly<Record<Kind, SpanKind>> = {
  internal: SpanKind.INTERNAL,
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
};

let tracer: Tracer | undefined;

/** Starts and ends tracing in this process. */
export function useTracer(used: Tracer | undefined): void {
  tracer = used;
}

/** Traces with whatever OpenTelemetry this process has registered by itself, for libraries inside other people's programs. */
export function useRegisteredTracer(name: string): void {
  tracer ??= trace.getTracer(name);
}

/** Whether spans go anywhere. */
export function isTracing(): boolean {
  return tracer !== undefined;
}

/** Whether a span runs here. */
export function isInTrace(): boolean {
  return tracer !== undefined && trace.getActiveSpan() !== undefined;
}

/** The `traceparent` of what runs here, for the next process; undefined outside of any trace. */
export function carriedTrace(): string | undefined {
  if (tracer === undefined) return undefined;
  const carrier: { traceparent?: string } = {};
  propagation.inject(context.active(), carrier);
  return carrier.traceparent;
}

/** Runs `work` as part of the trace that `traceparent` names. */
export function underTrace<T>(traceparent: string | undefined, work: () => T): T {
  if (tracer === undefined || traceparent === undefined) return work();
  return context.with(propagation.extract(context.active(), { traceparent }), work);
}

/** Makes `work` part of the trace that runs now, whenever it is called. */
export function bindTrace<Args extends unknown[], T>(work: (...args: Args) => T): (...args: Args) => T {
  return tracer === undefined ? work : context.bind(context.active(), work);
}

/** Adds to the span that runs now. */
export function annotate(attributes: Attributes): void {
  if (tracer !== undefined) trace.getActiveSpan()?.setAttributes(attributes);
}

/** Runs `work` in a span that ends with it. */
export async function inSpan<T>(name: string, options: SpanOptions, work: () => Promise<T>): Promise<T> {
  if (tracer === undefined) return work();
  const { span, ctx } = begin(tracer, name, options);
  try {
    return await context.with(ctx, work);
  } catch (error) {
    fail(span, error);
    throw error;
  } finally {
    span.end();
  }
}

/** Reads `make()` in a span that ends when it does, or when its reader leaves. */
export async function* inSpanStream<T>(name: string, options: SpanOptions, make: () => AsyncIterable<T>): AsyncGenerator<T> {
  if (tracer === undefined) {
    yield* make();
    return;
  }
  const { span, ctx } = begin(tracer, name, options);
  // A generator runs in the context of whoever asks it for the next value.
  const iterator = context.with(ctx, () => make()[Symbol.asyncIterator]());
  let over = false;
  try {
    for (;;) {
      const next = await context.with(ctx, () => iterator.next());
      if (next.done === true) break;
      yield next.value;
    }
    over = true;
  } catch (error) {
    over = true;
    fail(span, error);
    throw error;
  } finally {
    if (!over) await context.with(ctx, () => iterator.return?.());
    span.end();
  }
}

/** A span of something that is over, below the one that runs now; nothing outside of a trace. Times in ms since the epoch. */
export function pastSpan(name: string, startMs: number, endMs: number, attributes: Attributes = {}): void {
  if (tracer === undefined || trace.getActiveSpan() === undefined) return;
  tracer.startSpan(name, { startTime: startMs, attributes }).end(Math.max(startMs, endMs));
}

/** Trace and span that run now, for a log line; nothing outside of a trace. */
export function traceIds(): { readonly trace_id?: string; readonly span_id?: string } {
  if (tracer === undefined) return {};
  const ids = trace.getActiveSpan()?.spanContext();
  return ids === undefined ? {} : { trace_id: ids.traceId, span_id: ids.spanId };
}

function begin(used: Tracer, name: string, { kind = "internal", attributes = {}, parent }: SpanOptions) {
  const above =
    parent === undefined ? context.active() : propagation.extract(trace.deleteSpan(context.active()), { traceparent: parent });
  const span = used.startSpan(name, { kind: KINDS[kind], attributes }, above);
  return { span, ctx: trace.setSpan(above, span) };
}

function fail(span: Span, error: unknown): void {
  const code = typeof error === "object" && error !== null && "code" in error ? String(error.code) : "INTERNAL";
  span.setStatus({ code: SpanStatusCode.ERROR });
  span.setAttribute("error.type", /^[A-Z][A-Z_]{1,40}$/.test(code) ? code : "INTERNAL");
}
