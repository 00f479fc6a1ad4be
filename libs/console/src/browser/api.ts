/**
 * The gateway's /v1, with the tab's token. Every failure is an {@link ApiError} with one of the
 * server's codes.
 *
 * @module
 */
import type { Context, Kept, Model, Worker } from "./messages.ts";
import { events } from "./server-sent-events.ts";
import { token } from "./session.ts";

export class ApiError extends Error {
  readonly code: string;
  readonly requestId: string;

  constructor(code: string, message: string, requestId = "") {
    super(message);
    this.code = code;
    this.requestId = requestId;
  }
}

interface Failed {
  readonly error?: { readonly code?: string; readonly message?: string };
}

async function send(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  const shown = token();
  if (shown !== undefined) headers.set("authorization", `Bearer ${shown}`);
  let response: Response;
  try {
    response = await fetch(`/v1/${path}`, { ...init, headers, cache: "no-store" });
  } catch (error) {
    if (init.signal?.aborted === true) throw error;
    throw new ApiError("UNREACHABLE", "Cannot reach the gateway: the connection failed");
  }
  if (response.ok) return response;
  const { error } = (await response.json().catch(() => ({}))) as Failed;
  const message = error?.message ?? `Cannot read the reply: it has status ${response.status}`;
  throw new ApiError(error?.code ?? "INTERNAL", message, response.headers.get("x-request-id") ?? "");
}

async function json<T>(path: string, init?: RequestInit): Promise<T> {
  const response = await send(path, init);
  return (await response.json()) as T;
}

async function* stream<T>(path: string, init?: RequestInit): AsyncGenerator<T, void, undefined> {
  const response = await send(path, init);
  for await (const event of events<T & Failed>(response.body as ReadableStream<Uint8Array>)) {
    if (event.error !== undefined) {
      throw new ApiError(event.error.code ?? "INTERNAL", event.error.message ?? "", response.headers.get("x-request-id") ?? "");
    }
    yield event as T;
  }
}

const withBody = (body: unknown, signal: AbortSignal): RequestInit => ({
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body),
  signal,
});

/** Contexts of all pages in a list at most; the rest are counted by nobody here. */
const MAX_LISTED = 500;

export interface NewContext {
  readonly model: string;
  readonly display_name: string;
  readonly keep_ratio: string;
  readonly spec: string;
  readonly ttl: string;
}

export interface Question {
  readonly context: Context;
  readonly question: string;
  readonly maxTokens: number;
  readonly temperature: number;
}

export const api = {
  models: async (signal: AbortSignal): Promise<readonly Model[]> => (await json<{ data: Model[] }>("models", { signal })).data,

  async contexts(signal: AbortSignal): Promise<{ readonly contexts: readonly Context[]; readonly more: boolean }> {
    const states = "creating,active,failed,deleting,deleted";
    const page = await json<{ contexts?: Context[]; next_page_token?: string }>(
      `contexts?page_size=${MAX_LISTED}&states=${states}`,
      { signal },
    );
    return { contexts: page.contexts ?? [], more: (page.next_page_token ?? "") !== "" };
  },

  context: (id: string, signal: AbortSignal): Promise<Context> => json(`contexts/${id}`, { signal }),

  changes: (id: string, signal: AbortSignal): AsyncGenerator<{ context?: Context; deleted?: boolean }> =>
    stream(`contexts/${id}/events`, { signal }),

  /** The text is the body itself: it may be longer than a JSON message may be. */
  create(request: NewContext, text: string, signal: AbortSignal): Promise<Context> {
    const given = Object.entries(request).filter(([, value]) => value !== "");
    return json(`contexts?${new URLSearchParams(given)}`, {
      method: "POST",
      headers: { "content-type": "text/plain; charset=utf-8" },
      body: text,
      signal,
    });
  },

  remove: async (id: string, signal: AbortSignal): Promise<void> => {
    await send(`contexts/${id}`, { method: "DELETE", signal });
  },

  undelete: (id: string, signal: AbortSignal): Promise<Context> => json(`contexts/${id}/undelete`, { method: "POST", signal }),

  kept(id: string, body: object, signal: AbortSignal): Promise<Kept> {
    return json(`contexts/${id}/kept`, withBody(body, signal));
  },

  workers: async (signal: AbortSignal): Promise<readonly Worker[]> =>
    (await json<{ workers: Worker[] }>("workers", { signal })).workers,

  ask<T>({ context, question, maxTokens, temperature }: Question, signal: AbortSignal): AsyncGenerator<T> {
    const body = {
      ...{ model: context.model, context: context.name, stream: true, stream_options: { include_usage: true } },
      ...{ messages: [{ role: "user", content: question }], max_tokens: maxTokens, temperature },
    };
    return stream("chat/completions", withBody(body, signal));
  },
};

/** `contexts/{id}` → id. */
export function idOf({ name }: Pick<Context, "name">): string {
  return name.slice(name.indexOf("/") + 1);
}
