/**
 * A stream of JSON objects as server-sent events.
 *
 * The status line waits for the first object, so that what fails before it is an ordinary HTTP
 * error. What fails later is an object `{"error": …}` on the stream, as OpenAI's clients expect.
 *
 * @module
 */
import { Readable } from "node:stream";
import type { FastifyReply } from "fastify";
import { httpError } from "./http-error.ts";

export interface EventStreamOptions {
  readonly requestId: string;
  /** Sent after the last object, e.g. `[DONE]`. */
  readonly end?: string;
}

/** Sends `objects`; resolves when the reply has begun. Throws what fails before the first one. */
export async function sendEvents(
  reply: FastifyReply,
  objects: AsyncGenerator<object, void, undefined>,
  options: EventStreamOptions,
): Promise<FastifyReply> {
  const first = await objects.next();
  const lines = Readable.from(eventLines(first, objects, options), { objectMode: false, highWaterMark: 16 * 1024 });
  return reply
    .type("text/event-stream; charset=utf-8")
    .header("cache-control", "no-store")
    .header("x-accel-buffering", "no")
    .send(lines);
}

async function* eventLines(
  first: IteratorResult<object, void>,
  rest: AsyncGenerator<object, void, undefined>,
  { requestId, end }: EventStreamOptions,
): AsyncGenerator<string> {
  try {
    if (first.done !== true) yield line(first.value);
    for await (const object of rest) yield line(object);
    if (end !== undefined) yield `data: ${end}\n\n`;
  } catch (thrown) {
    yield line(httpError(thrown, requestId).body);
  } finally {
    await rest.return();
  }
}

function line(object: object): string {
  return `data: ${JSON.stringify(object)}\n\n`;
}
