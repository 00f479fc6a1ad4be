import { expect, test } from "vitest";
import { events } from "./server-sent-events.ts";

function streamOf(pieces: readonly string[]): ReadableStream<Uint8Array> {
  const bytes = new TextEncoder();
  return new ReadableStream({
    start(controller) {
      for (const piece of pieces) controller.enqueue(bytes.encode(piece));
      controller.close();
    },
  });
}

async function all(pieces: readonly string[]): Promise<unknown[]> {
  const found: unknown[] = [];
  for await (const event of events(streamOf(pieces))) found.push(event);
  return found;
}

test("events come whole, wherever the network cuts them", async () => {
  const text = 'data: {"a":1}\n\n: a comment\n\ndata: {"b":"ü"}\n\ndata: [DONE]\n\ndata: {"c":2}\n\n';
  for (let size = 1; size < text.length; size += 7) {
    const pieces = Array.from({ length: Math.ceil(text.length / size) }, (_, i) => text.slice(i * size, (i + 1) * size));
    expect(await all(pieces)).toEqual([{ a: 1 }, { b: "ü" }]);
  }
});

test("a stream that was cut leaves its last, unfinished event out", async () => {
  expect(await all(['data: {"a":1}\n\ndata: {"b"'])).toEqual([{ a: 1 }]);
});
