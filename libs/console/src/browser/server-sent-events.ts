/**
 * Server-sent events from a fetched body. EventSource cannot show a token, so the stream is read
 * by hand: `data:` lines of JSON, an empty line between them, `[DONE]` at the end of a chat.
 *
 * @module
 */
/** Longest event taken; a stream that never ends a line is not kept growing. */
const MAX_EVENT_CHARS = 4_000_000;

export async function* events<T>(body: ReadableStream<Uint8Array>): AsyncGenerator<T, void, undefined> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let waiting = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      waiting += decoder.decode(value, { stream: !done });
      const ended = waiting.split("\n\n");
      waiting = ended.pop() ?? "";
      for (const event of ended) {
        const data = dataOf(event);
        if (data === "[DONE]") return;
        if (data !== "") yield JSON.parse(data) as T;
      }
      if (done) return;
      if (waiting.length > MAX_EVENT_CHARS)
        throw new RangeError(`Cannot read the stream: an event of over ${MAX_EVENT_CHARS} characters`);
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

function dataOf(event: string): string {
  return event
    .split("\n")
    .filter((line) => line.startsWith("data:"))
    .map((line) => line.slice("data:".length).trimStart())
    .join("\n");
}
