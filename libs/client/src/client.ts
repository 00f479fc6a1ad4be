/**
 * A client of one KVault: contexts, questions, conversations.
 *
 * @module
 */
import type { ChannelOptions, Model as ModelMessage } from "@kvault/rpc";
import { useRegisteredTracer } from "@kvault/telemetry";
import type { CallSettings } from "./call-settings.ts";
import { type Connection, callOnce } from "./connection.ts";
import { type Contexts, createContexts } from "./contexts.ts";
import { type Conversation, createConversation } from "./conversation.ts";
import { type Api, openGateways } from "./gateways.ts";
import { type AnswerStream, query } from "./query.ts";
import { type ManyEvent, type ManySettings, queryMany } from "./query-many.ts";
import type { QuestionSettings, QuestionTarget } from "./question.ts";
import { DEFAULT_RETRY, type RetryPolicy } from "./retry.ts";
import { type Content, contentMessage } from "./text-source.ts";

const PAGE_SIZE = 200;

export interface ClientOptions
  extends Pick<ChannelOptions, "tls" | "serverName" | "token" | "allowPlaintext" | "keepaliveWithoutCalls"> {
  /** Over {@link DEFAULT_RETRY}; `{ maxAttempts: 1 }` never tries again. */
  readonly retry?: Partial<RetryPolicy>;
  /** Calls made inside a trace of the OpenTelemetry that this program has registered become spans of it, and go on at the server. */
  readonly tracing?: boolean;
}

export interface Model {
  /** Catalogue name. */
  readonly name: string;
  readonly architecture: string;
  readonly weightsSha256: string;
  readonly numLayers: number;
  readonly numQueryHeads: number;
  readonly numKvHeads: number;
  readonly headDim: number;
  /** Longest context plus question plus answer. */
  readonly maxTokens: number;
  readonly fileBytes: number;
  readonly isPresent: boolean;
  readonly licence: string;
}

export interface TokenCount {
  /** Of the content, without the template's. */
  readonly contextTokens: number;
  /** Of the template before the content. */
  readonly prefixTokens: number;
  /** Of the question, with the template around it. */
  readonly questionTokens: number;
  /** Longest context plus question plus answer. */
  readonly maxTokens: number;
}

export interface KvaultClient {
  /** Of the gateway that calls go to now. */
  readonly address: string;
  readonly contexts: Contexts;
  /** A question; its answer is streamed, and asked for when it is first read. */
  query(target: QuestionTarget, question: string, settings?: QuestionSettings): AnswerStream;
  /** Many questions on one context, decoded together. */
  queryMany(context: string, questions: readonly string[], settings?: ManySettings): AsyncIterableIterator<ManyEvent>;
  /** Questions that follow each other; `settings` hold for all of them. */
  conversation(target: QuestionTarget, settings?: QuestionSettings): Conversation;
  countTokens(
    what: { readonly model: string; readonly content?: Content; readonly question?: string },
    settings?: CallSettings,
  ): Promise<TokenCount>;
  models(settings?: CallSettings): Promise<Model[]>;
  /** The API as it is on the wire, for what is not here: typed messages, nothing retried. */
  readonly api: Api;
  /** Resolves once connected; UNREACHABLE after `timeoutMs`. Calls connect by themselves and need not wait for this. */
  whenReady(timeoutMs: number): Promise<void>;
  /** Idempotent. Calls under way go on; new ones are refused with CLOSED. */
  close(): void;
  [Symbol.dispose](): void;
}

/**
 * Opens a client; it connects on first use. Of several addresses, `host:port` or `unix:/path`, the
 * first that answers is used until it is lost.
 */
export function openClient(address: string | readonly string[], options: ClientOptions = {}): KvaultClient {
  const { retry, tracing = false, ...channel } = options;
  if (tracing) useRegisteredTracer("@kvault/client");
  const gateways = openGateways(typeof address === "string" ? [address] : address, channel);
  const connection: Connection = { gateways, retry: { ...DEFAULT_RETRY, ...retry } };
  return {
    get address() {
      return gateways.address;
    },
    contexts: createContexts(connection),
    query: (target, question, settings) => query(connection, target, question, settings),
    queryMany: (context, questions, settings) => queryMany(connection, context, questions, settings),
    conversation: (target, settings) =>
      createConversation((question, more) => query(connection, target, question, more), settings),
    async countTokens({ model, content, question = "" }, settings = {}) {
      const request = { model, question, ...(content === undefined ? {} : { content: contentMessage(content) }) };
      const counted = await callOnce(connection, settings, ({ inference }, call) => inference.countTokens(request, call));
      const { contextTokens, prefixTokens, questionTokens, maxTokens } = counted;
      return { contextTokens, prefixTokens, questionTokens, maxTokens };
    },
    async models(settings = {}) {
      const found: Model[] = [];
      let pageToken = "";
      do {
        const request = { pageSize: PAGE_SIZE, pageToken };
        const page = await callOnce(connection, settings, ({ models }, call) => models.listModels(request, call));
        found.push(...page.models.map(modelOf));
        pageToken = page.nextPageToken;
      } while (pageToken !== "");
      return found;
    },
    get api() {
      return gateways.api;
    },
    whenReady: (timeoutMs) => gateways.whenReady(timeoutMs),
    close: () => gateways.close(),
    [Symbol.dispose]: () => gateways.close(),
  };
}

function modelOf(message: ModelMessage): Model {
  const { name, architecture, weightsSha256, numLayers, numQueryHeads, numKvHeads, headDim, maxTokens, licence } = message;
  return {
    name: name.replace(/^models\//, ""),
    architecture,
    weightsSha256,
    numLayers,
    numQueryHeads,
    numKvHeads,
    headDim,
    maxTokens,
    fileBytes: Number(message.fileBytes),
    isPresent: message.present,
    licence,
  };
}
