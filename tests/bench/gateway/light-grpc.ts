/**
 * gRPC on Node's own HTTP/2, as far as a bench needs it: callers and a worker that take as little
 * of the machine as they can, so that it is the gateway that is measured and not they. Messages
 * are written once and sent many times; replies are counted, not read.
 *
 * @module
 */
import { once } from "node:events";
import {
  type ClientHttp2Session,
  connect,
  constants,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";

const PREFIX_BYTES = 5;
const NO_CAPACITY_STATUS = "8";

/** A message as it goes over the wire: not compressed, its length, its bytes. */
export function framed(message: Uint8Array): Buffer {
  const frame = Buffer.alloc(PREFIX_BYTES + message.length);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, PREFIX_BYTES);
  return frame;
}

/** What became of one call. */
export interface Outcome {
  /** `refused`: RESOURCE_EXHAUSTED. */
  readonly end: "ok" | "refused" | "failed";
  /** From sending to the first byte of a message. */
  readonly firstMs: number;
  readonly totalMs: number;
}

/** One connection; `call` sends a framed message and resolves when the status has come. */
export class LightClient {
  readonly #session: ClientHttp2Session;

  private constructor(session: ClientHttp2Session) {
    this.#session = session;
  }

  static async open(address: string): Promise<LightClient> {
    const session = connect(`http://${address}`, { settings: { initialWindowSize: 1 << 20 } });
    await once(session, "connect");
    return new LightClient(session);
  }

  call(path: string, message: Buffer): Promise<Outcome> {
    const startMs = performance.now();
    let [firstMs, status] = [0, ""];
    const take = (headers: IncomingHttpHeaders): void => {
      status = String(headers["grpc-status"] ?? status);
    };
    const stream = this.#session.request({
      [constants.HTTP2_HEADER_METHOD]: "POST",
      [constants.HTTP2_HEADER_PATH]: path,
      [constants.HTTP2_HEADER_CONTENT_TYPE]: "application/grpc",
      [constants.HTTP2_HEADER_TE]: "trailers",
    });
    stream.on("response", take);
    stream.on("trailers", take);
    stream.on("data", () => {
      firstMs ||= performance.now() - startMs;
    });
    stream.on("error", () => undefined);
    stream.end(message);
    return new Promise((resolve) => {
      stream.on("close", () => {
        const end = status === "0" ? "ok" : status === NO_CAPACITY_STATUS ? "refused" : "failed";
        resolve({ end, firstMs, totalMs: performance.now() - startMs });
      });
    });
  }

  close(): void {
    this.#session.destroy();
  }
}

/** A call being answered. */
export class LightReply {
  readonly #stream: ServerHttp2Stream;

  constructor(stream: ServerHttp2Stream) {
    this.#stream = stream;
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("error", () => undefined);
  }

  get isOver(): boolean {
    return this.#stream.closed;
  }

  send(message: Buffer): void {
    if (!this.isOver) this.#stream.write(message);
  }

  end(status = 0, text = ""): void {
    if (this.isOver) return;
    this.#stream.on("wantTrailers", () => {
      this.#stream.sendTrailers({ "grpc-status": String(status), "grpc-message": encodeURIComponent(text) });
    });
    this.#stream.end();
  }
}

/** Serves `handlers` by path; what is asked is not read. */
export async function serveLight(
  address: string,
  handlers: Readonly<Record<string, (reply: LightReply) => void>>,
): Promise<Http2Server> {
  const [host, port] = address.split(":");
  const server = createServer({ settings: { maxConcurrentStreams: 1 << 20, initialWindowSize: 1 << 20 } });
  server.on("stream", (stream, headers) => {
    const path = String(headers[constants.HTTP2_HEADER_PATH]);
    stream.resume();
    const reply = new LightReply(stream);
    const handler = handlers[path];
    if (handler === undefined) reply.end(12, `no ${path}`);
    else handler(reply);
  });
  server.listen(Number(port), host);
  await once(server, "listening");
  return server;
}
