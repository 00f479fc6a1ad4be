/**
 * A question and how to answer it, as callers write them.
 *
 * @module
 */
import { randomInt } from "node:crypto";
import { type MessageInitShape, type QueryRequestSchema, ServiceClass } from "@kvault/rpc";
import type { CallSettings } from "./call-settings.ts";
import { contextName } from "./context.ts";
import { type ChatMessage, type Content, chatMessage, contentMessage } from "./text-source.ts";

/** Name or id of a stored context; or a text that is read for this question alone. */
export type QuestionTarget = string | (Content & { readonly model: string });

/** How an answer is drawn and where it ends. */
export interface AnswerSettings {
  /** Longest answer, tokens; the server's default is 256. */
  readonly maxTokens?: number;
  /** The answer ends before the first of these. */
  readonly stop?: readonly string[];
  /** 0, the default, takes the likeliest token every time. */
  readonly temperature?: number;
  readonly topP?: number;
  readonly topK?: number;
  /** Same seed, same answer; drawn here when absent, so that the answer can be asked for again. */
  readonly seed?: number;
}

export interface QuestionSettings extends AnswerSettings, CallSettings {
  /** Earlier turns: a question, its answer, and so on. */
  readonly turns?: readonly ChatMessage[];
  /** Nobody waits for the first token: takes what room is left. */
  readonly isBatch?: boolean;
  /** What the context was made of, read again when its record cannot be had. */
  readonly recompute?: Content;
  /** Go on after a lost gateway by asking again; true when absent. */
  readonly resume?: boolean;
}

type QueryRequest = MessageInitShape<typeof QueryRequestSchema>;

/** Seeds drawn here; 0 would leave it to the server, and each try would draw another. */
const MAX_DRAWN_SEED = 2 ** 32;

export function drawing(settings: AnswerSettings): Required<Pick<QueryRequest, "sampling" | "limits">> {
  const { maxTokens = 0, stop = [], temperature = 0, topP = 0, topK = 0, seed } = settings;
  return {
    sampling: { temperature, topP, topK, seed: BigInt(seed ?? randomInt(1, MAX_DRAWN_SEED)) },
    limits: { maxTokens, stop: [...stop] },
  };
}

export function serviceClass(isBatch: boolean | undefined): ServiceClass {
  return isBatch === true ? ServiceClass.BATCH : ServiceClass.UNSPECIFIED;
}

export function onMiss(recompute: Content | undefined): Pick<QueryRequest, "onMiss"> {
  if (recompute === undefined) return {};
  return { onMiss: { action: { case: "recompute", value: { content: contentMessage(recompute) } } } };
}

export function queryRequest(target: QuestionTarget, question: string, settings: QuestionSettings): QueryRequest {
  const source =
    typeof target === "string"
      ? { case: "context" as const, value: contextName(target) }
      : { case: "inline" as const, value: { model: target.model, content: contentMessage(target) } };
  return {
    source,
    question,
    ...drawing(settings),
    serviceClass: serviceClass(settings.isBatch),
    turns: (settings.turns ?? []).map(chatMessage),
    ...onMiss(settings.recompute),
  };
}
