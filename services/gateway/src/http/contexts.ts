/**
 * /v1/contexts: the Contexts service over HTTP, its messages as proto3 JSON with the names of the
 * proto files. A text too long for JSON is sent as the body itself, with the rest in the query.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import {
  anyUnpack,
  type Context,
  Context_State,
  ContextSchema,
  Contexts,
  CreateContextMetadataSchema,
  CreateContextRequestSchema,
  create,
  fromJson,
  type InProcessClients,
  InspectContextRequestSchema,
  type JsonValue,
  KeptPairsSchema,
  ListContextsResponseSchema,
  type MessageInitShape,
  type Operation,
  STATUS_DETAIL_TYPES,
  toJson,
  type UploadContextRequestSchema,
  WatchContextResponseSchema,
} from "@kvault/rpc";
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { httpCall } from "./http-call.ts";
import { sendEvents } from "./server-sent-events.ts";

const JSON_NAMES = { useProtoFieldName: true, registry: STATUS_DETAIL_TYPES } as const;

interface ById {
  readonly Params: { readonly id: string };
}

/** What goes beside a text that is the whole body. */
const uploadQuery = z.strictObject({
  model: z.string().optional(),
  spec: z.string().optional(),
  keep_ratio: z.coerce.number().optional(),
  display_name: z.string().optional(),
  ttl: z
    .string()
    .regex(/^\d+(\.\d+)?s$/, 'must be seconds like "3600s"')
    .optional(),
});

const flag = z
  .enum(["true", "false"])
  .default("false")
  .transform((value) => value === "true");
const deleteQuery = z.strictObject({ force: flag, purge: flag, etag: z.string().default("") });

/** `STATE_ACTIVE` or `active`. */
const state = z
  .string()
  .transform((name) => name.toUpperCase().replace(/^STATE_/, ""))
  .pipe(z.enum(Object.keys(Context_State).filter((name) => Number.isNaN(Number(name))) as [keyof typeof Context_State]))
  .transform((name) => Context_State[name]);

const listQuery = z.strictObject({
  page_size: z.coerce.number().int().optional(),
  page_token: z.string().optional(),
  /** Comma-separated. */
  states: z
    .string()
    .transform((names) => names.split(","))
    .pipe(z.array(state).max(16))
    .optional(),
});

const count = z.coerce.number().int().min(0);
const keptQuery = z.strictObject({ max_bins: count.optional(), layer: count.optional(), kv_head: count.optional() });

export function contexts(server: FastifyInstance, clients: InProcessClients): void {
  server.post("/v1/contexts", async (request, reply) => {
    const { caller } = httpCall(request, reply);
    const client = clients(Contexts, caller);
    const operation = isStream(request.body)
      ? await client.uploadContext(pieces(uploadRequest(request.query), request.body))
      : await client.createContext(readMessage(request.body));
    const name = contextOf(operation);
    return reply.code(202).send(contextJson(await client.getContext({ name })));
  });

  server.get("/v1/contexts", async (request, reply) => {
    const { caller } = httpCall(request, reply);
    const { page_size: pageSize = 0, page_token: pageToken = "", states = [] } = readQuery(listQuery, request.query);
    const page = await clients(Contexts, caller).listContexts({ pageSize, pageToken, states });
    return toJson(ListContextsResponseSchema, page, JSON_NAMES);
  });

  server.get<ById>("/v1/contexts/:id", async (request, reply) => {
    const { caller } = httpCall(request, reply);
    return contextJson(await clients(Contexts, caller).getContext({ name: `contexts/${request.params.id}` }));
  });

  server.get<ById>("/v1/contexts/:id/events", async (request, reply) => {
    const { caller, requestId } = httpCall(request, reply);
    const changes = clients(Contexts, caller).watchContext({ name: `contexts/${request.params.id}` });
    return sendEvents(reply, asJson(changes), { requestId });
  });

  // With GET the counts alone; with POST the text can come along.
  server.route<ById>({
    method: ["GET", "POST"],
    url: "/v1/contexts/:id/kept",
    handler: async (request, reply) => {
      const { caller } = httpCall(request, reply);
      const asked =
        request.method === "GET" ? (readQuery(keptQuery, request.query) as JsonValue) : ((request.body ?? {}) as JsonValue);
      const message = readJson(() => fromJson(InspectContextRequestSchema, asked));
      const kept = await clients(Contexts, caller).inspectContext({ ...message, name: `contexts/${request.params.id}` });
      return toJson(KeptPairsSchema, kept, { ...JSON_NAMES, alwaysEmitImplicit: true });
    },
  });

  server.delete<ById>("/v1/contexts/:id", async (request, reply) => {
    const { caller } = httpCall(request, reply);
    const options = readQuery(deleteQuery, request.query);
    await clients(Contexts, caller).deleteContext({ name: `contexts/${request.params.id}`, ...options });
    return reply.code(204).send();
  });

  server.patch<ById>("/v1/contexts/:id", async (request, reply) => {
    const { caller } = httpCall(request, reply);
    const context = readJson(() => fromJson(ContextSchema, request.body as JsonValue));
    return contextJson(
      await clients(Contexts, caller).updateContext({ context: { ...context, name: `contexts/${request.params.id}` } }),
    );
  });

  server.post<ById>("/v1/contexts/:id/undelete", async (request, reply) => {
    const { caller } = httpCall(request, reply);
    return contextJson(await clients(Contexts, caller).undeleteContext({ name: `contexts/${request.params.id}` }));
  });
}

function contextJson(context: Context): JsonValue {
  return toJson(ContextSchema, context, JSON_NAMES);
}

async function* asJson(
  changes: AsyncIterable<MessageInitShape<typeof WatchContextResponseSchema>>,
): AsyncGenerator<object, void, undefined> {
  for await (const change of changes)
    yield toJson(WatchContextResponseSchema, create(WatchContextResponseSchema, change), JSON_NAMES) as object;
}

function contextOf({ metadata }: Operation): string {
  const read = metadata && anyUnpack(metadata, CreateContextMetadataSchema);
  return read?.context ?? "";
}

function readMessage(body: unknown): MessageInitShape<typeof CreateContextRequestSchema> {
  return readJson(() => fromJson(CreateContextRequestSchema, body as JsonValue));
}

function uploadRequest(query: unknown): MessageInitShape<typeof CreateContextRequestSchema> {
  const { spec, keep_ratio, ...rest } = readQuery(uploadQuery, query);
  const compression = { ...(spec === undefined ? {} : { spec }), ...(keep_ratio === undefined ? {} : { keep_ratio }) };
  return readJson(() => fromJson(CreateContextRequestSchema, { ...rest, compression } as JsonValue));
}

/** The library's words name the message and the field. */
function readJson<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw invalidArgument("body", `Cannot read the request: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function readQuery<T>(schema: z.ZodType<T>, query: unknown): T {
  const parsed = schema.safeParse(query);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const field = issue?.code === "unrecognized_keys" ? (issue.keys[0] ?? "") : (issue?.path.join(".") ?? "");
  throw invalidArgument(field, `Cannot read the query: ${field}: ${issue?.message}`);
}

function isStream(body: unknown): body is AsyncIterable<Uint8Array> {
  return typeof body === "object" && body !== null && Symbol.asyncIterator in body;
}

async function* pieces(
  request: MessageInitShape<typeof CreateContextRequestSchema>,
  body: AsyncIterable<Uint8Array>,
): AsyncGenerator<MessageInitShape<typeof UploadContextRequestSchema>> {
  yield { payload: { case: "request", value: request } };
  for await (const piece of body) yield { payload: { case: "text", value: piece } };
}
