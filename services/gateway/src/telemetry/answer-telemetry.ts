/**
 * A question's span and durations, by the GenAI conventions: `chat {model}`, with what went in and
 * came out as numbers. What was asked and answered is in neither.
 *
 * @module
 */
import { isKvaultError } from "@kvault/core";
import type { ExecuteResponse } from "@kvault/rpc";
import { annotate, inSpanStream, isRecording, observe } from "@kvault/telemetry";

export interface AskedQuestion {
  readonly model: string;
  /** "" for a text of its own. */
  readonly contextId: string;
  readonly maxTokens: number;
}

/** `answering`, told of as it goes. */
export async function* toldAnswer(
  { model, contextId, maxTokens }: AskedQuestion,
  answering: () => AsyncIterable<ExecuteResponse>,
): AsyncGenerator<ExecuteResponse, void, undefined> {
  if (!isRecording()) {
    yield* answering();
    return;
  }
  const startMs = performance.now();
  const labels = { gen_ai_request_model: model };
  let errorType = "CANCELLED";
  const attributes = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "kvault",
    "gen_ai.request.model": model,
    "gen_ai.request.max_tokens": maxTokens,
    "gen_ai.request.stream": true,
    ...(contextId === "" ? {} : { "kvault.context.id": contextId }),
  };
  const watched = async function* (): AsyncGenerator<ExecuteResponse> {
    let first = true;
    for await (const response of answering()) {
      const { event } = response;
      if (first && event.case === "delta") {
        first = false;
        observe("gen_ai_server_time_to_first_token", (performance.now() - startMs) / 1_000, labels);
      }
      if (event.case === "answer") tellAnswer(event.value, labels);
      yield response;
    }
  };
  try {
    yield* inSpanStream(`chat ${model}`, { attributes }, watched);
    errorType = "";
  } catch (error) {
    errorType = isKvaultError(error) ? error.code : "INTERNAL";
    throw error;
  } finally {
    observe("gen_ai_server_request_duration", (performance.now() - startMs) / 1_000, { ...labels, error_type: errorType });
  }
}

type Answer = Extract<ExecuteResponse["event"], { case: "answer" }>["value"];

function tellAnswer({ usage, timings, cache }: Answer, labels: { readonly gen_ai_request_model: string }): void {
  const { contextTokens = 0, questionTokens = 0, newTokens = 0 } = usage ?? {};
  const input = contextTokens + questionTokens;
  observe("gen_ai_client_token_usage", input, { ...labels, gen_ai_token_type: "input" });
  observe("gen_ai_client_token_usage", newTokens, { ...labels, gen_ai_token_type: "output" });
  if (timings !== undefined && timings.tpotMs > 0) observe("gen_ai_server_time_per_output_token", timings.tpotMs / 1_000, labels);
  annotate({
    "gen_ai.usage.input_tokens": input,
    "gen_ai.usage.output_tokens": newTokens,
    // What was not read again is what this system is for.
    "gen_ai.usage.cache_read.input_tokens": cache?.reason === "INLINE" ? 0 : contextTokens,
    "kvault.cache.reason": cache?.reason ?? "",
    ...(timings === undefined ? {} : { "gen_ai.response.time_to_first_chunk": timings.ttftMs / 1_000 }),
  });
}
