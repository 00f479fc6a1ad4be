/**
 * Many questions on one context, decoded together.
 *
 * @module
 */
import type { KvaultError } from "@kvault/core";
import { fromRpcStatus } from "@kvault/rpc";
import { type Answer, type AnswerPiece, answerOf } from "./answer.ts";
import { type CallSettings, callOptions } from "./call-settings.ts";
import { type Connection, callAgain } from "./connection.ts";
import { contextName } from "./context.ts";
import type { Api } from "./gateways.ts";
import { type AnswerSettings, drawing, onMiss, serviceClass } from "./question.ts";
import { createTries, isTransient } from "./retry.ts";
import type { Content } from "./text-source.ts";

export interface ManySettings extends AnswerSettings, CallSettings {
  /** Somebody waits for the first token; the server takes many questions for a batch. */
  readonly isInteractive?: boolean;
  /** What the context was made of, read again when its record cannot be had. */
  readonly recompute?: Content;
}

/** `index` is the question's. A question that failed does not end the others. */
export type ManyEvent = { readonly index: number } & (
  | ({ readonly type: "piece" } & AnswerPiece)
  | { readonly type: "answer"; readonly answer: Answer }
  | { readonly type: "error"; readonly error: KvaultError }
);

export async function* queryMany(
  connection: Connection,
  context: string,
  questions: readonly string[],
  settings: ManySettings = {},
): AsyncGenerator<ManyEvent, void, undefined> {
  const request = {
    context: contextName(context),
    questions: questions.map((question) => ({ question, ...drawing(settings) })),
    serviceClass: serviceClass(settings.isInteractive === undefined ? undefined : !settings.isInteractive),
    ...onMiss(settings.recompute),
  };
  const options = callOptions(settings);
  let begun = false;
  const canRepeat = (error: KvaultError): boolean => !begun && isTransient(error);
  const tries = createTries(connection.retry, { ...options, canRepeat });
  for await (const { index, event } of callAgain(connection, tries, (api: Api) => api.inference.queryBatch(request, options))) {
    begun = true;
    if (event.case === "delta") yield { index, type: "piece", text: event.value.text, tokenIds: event.value.tokenIds };
    else if (event.case === "answer") yield { index, type: "answer", answer: answerOf(event.value, 0) };
    else if (event.case === "error") yield { index, type: "error", error: fromRpcStatus(event.value) };
  }
}
