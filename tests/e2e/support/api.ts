/**
 * The public API as a test uses it.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import {
  type Answer,
  anyUnpack,
  type CallOptions,
  type Client,
  type Context,
  Context_State,
  Contexts,
  CreateContextMetadataSchema,
  type CreateContextRequestSchema,
  createClient,
  fromRpcStatus,
  Inference,
  type MessageInitShape,
  Models,
  openChannel,
} from "@kvault/rpc";
import { SMALL_MODEL } from "./kvault.ts";

export interface Api {
  readonly contexts: Client<typeof Contexts>;
  readonly inference: Client<typeof Inference>;
  readonly models: Client<typeof Models>;
  close(): void;
}

export async function connect(address: string): Promise<Api> {
  const channel = openChannel(address);
  await channel.whenReady(30_000);
  return {
    contexts: createClient(Contexts, channel),
    inference: createClient(Inference, channel),
    models: createClient(Models, channel),
    close: () => channel.close(),
  };
}

export type CreateRequest = MessageInitShape<typeof CreateContextRequestSchema>;

/** A request for the small model with everything filled in that a test does not care about. */
export function createRequest(text: string, more: Partial<CreateRequest> = {}): CreateRequest {
  return {
    model: SMALL_MODEL,
    content: { content: { case: "text", value: text } },
    compression: { spec: "kvzip", keepRatio: 0.3 },
    ...more,
  } as CreateRequest;
}

/** Submits; returns the context's name. */
export async function submit(api: Api, request: CreateRequest, options: CallOptions = {}): Promise<string> {
  const operation = await api.contexts.createContext(request, options);
  const metadata = operation.metadata === undefined ? undefined : anyUnpack(operation.metadata, CreateContextMetadataSchema);
  if (metadata === undefined) throw new Error("the operation names no context");
  return metadata.context;
}

/** Follows a build to ACTIVE; throws the build's error. `onChange` sees every message. */
export async function untilActive(
  api: Api,
  name: string,
  onChange: (context: Context) => void | Promise<void> = () => undefined,
): Promise<Context> {
  for await (const { context, deleted } of api.contexts.watchContext({ name })) {
    if (deleted || context === undefined) break;
    await onChange(context);
    if (context.state === Context_State.ACTIVE) return context;
    if (context.state === Context_State.FAILED && context.error !== undefined) throw fromRpcStatus(context.error);
  }
  throw new Error(`${name} was deleted or its watch ended early`);
}

export async function build(api: Api, request: CreateRequest): Promise<Context> {
  return untilActive(api, await submit(api, request));
}

export interface Streamed {
  readonly pieces: readonly string[];
  readonly answer: Answer;
}

/** One question, the answer and the pieces it came in. */
export async function ask(
  api: Api,
  context: string,
  question: string,
  maxTokens = 24,
  options: CallOptions = {},
): Promise<Streamed> {
  const pieces: string[] = [];
  const request = { source: { case: "context" as const, value: context }, question, limits: { maxTokens } };
  for await (const { event } of api.inference.query(request, options)) {
    if (event.case === "delta") pieces.push(event.value.text);
    if (event.case === "answer") return { pieces, answer: event.value };
  }
  throw new Error("the stream ended without an answer");
}

/** The typed error a promise is refused with; an untyped or missing one fails the test. */
export async function refusal(promise: Promise<unknown>): Promise<KvaultError> {
  const outcome = await promise.then(
    (value) => new Error(`not refused: ${JSON.stringify(value, (_, each) => (typeof each === "bigint" ? String(each) : each))}`),
    (error: unknown) => error,
  );
  if (outcome instanceof KvaultError) return outcome;
  throw outcome;
}
