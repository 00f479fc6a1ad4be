/**
 * An OpenTelemetry collector as far as a test needs one: takes OTLP over HTTP and keeps every body,
 * and reads the few fields of the spans that tests ask about.
 *
 * Read by the wire format, field by field (opentelemetry/proto/trace/v1/trace.proto), not with the
 * exporter's own code.
 *
 * @module
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface ReceivedSpan {
  readonly service: string;
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentId: string;
}

export interface OtlpReceiver {
  /** For OTEL_EXPORTER_OTLP_ENDPOINT. */
  readonly endpoint: string;
  spans(): readonly ReceivedSpan[];
  /** Everything that came, traces and metrics, as it came. */
  bodies(): readonly Buffer[];
  /** Paths that were asked for. */
  paths(): ReadonlySet<string>;
  close(): Promise<void>;
}

export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const bodies: { readonly path: string; readonly body: Buffer }[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      bodies.push({ path: request.url ?? "", body: Buffer.concat(chunks) });
      response.writeHead(200, { "content-type": "application/x-protobuf" }).end();
    });
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans: () => bodies.filter(({ path }) => path === "/v1/traces").flatMap(({ body }) => readSpans(body)),
    bodies: () => bodies.map(({ body }) => body),
    paths: () => new Set(bodies.map(({ path }) => path)),
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Spans of an ExportTraceServiceRequest. */
function readSpans(request: Buffer): ReceivedSpan[] {
  return fields(request, 1).flatMap((resourceSpans) => {
    const [resource = Buffer.alloc(0)] = fields(resourceSpans, 1);
    const service = attribute(resource, "service.name");
    return fields(resourceSpans, 2)
      .flatMap((scopeSpans) => fields(scopeSpans, 2))
      .map((span) => ({
        service,
        traceId: hex(span, 1),
        spanId: hex(span, 2),
        parentId: hex(span, 4),
        name: fields(span, 5)[0]?.toString() ?? "",
      }));
  });
}

function attribute(resource: Buffer, key: string): string {
  const found = fields(resource, 1).find((keyValue) => fields(keyValue, 1)[0]?.toString() === key);
  const [value = Buffer.alloc(0)] = found === undefined ? [] : fields(found, 2);
  return fields(value, 1)[0]?.toString() ?? "";
}

function hex(message: Buffer, field: number): string {
  return fields(message, field)[0]?.toString("hex") ?? "";
}

/** Values of the length-delimited field `wanted`; others are stepped over. */
function fields(message: Buffer, wanted: number): Buffer[] {
  const found: Buffer[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = message.readUInt8(at++);
      value += (byte & 127) * shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    switch (tag % 8) {
      case 0:
        varint();
        break;
      case 1:
        at += 8;
        break;
      case 2: {
        const length = varint();
        if (Math.floor(tag / 8) === wanted) found.push(message.subarray(at, at + length));
        at += length;
        break;
      }
      case 5:
        at += 4;
        break;
      default:
        throw new Error(`not protobuf: wire type ${tag % 8}`);
    }
  }
  return found;
}
