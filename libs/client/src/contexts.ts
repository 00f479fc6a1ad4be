/**
 * Stored contexts: made, followed, listed, changed, deleted.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import {
  anyUnpack,
  type CallOptions,
  Context_State,
  type ContextSchema,
  CreateContextMetadataSchema,
  durationFromMs,
  type MessageInitShape,
  type Operation,
  type UploadContextRequestSchema,
} from "@kvault/rpc";
import { type CacheInfo, cacheInfoOf } from "./answer.ts";
import { type CallSettings, callOptions } from "./call-settings.ts";
import { type Connection, callAgain, callOnce } from "./connection.ts";
import { type Context, type ContextState, contextName, contextOf } from "./context.ts";
import type { Api } from "./gateways.ts";
import { createTries, isTransient } from "./retry.ts";
import { type Shipment, shipmentOf, type TextSource } from "./text-source.ts";

const PAGE_SIZE = 200;

export interface CreateSettings extends CallSettings {
  /** Catalogue name. */
  readonly model: string;
  /** Preset or spec; the server's default for the model when absent. */
  readonly method?: string;
  /** Fraction of the KV pairs that is KEPT, above 0 and at most 1; as the method says when absent. */
  readonly keepRatio?: number;
  /** For people. */
  readonly displayName?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Lifetime from now, at least 60; forever when absent. */
  readonly ttlSeconds?: number;
  /** Every use moves the expiry on by the ttl. */
  readonly refreshOnUse?: boolean;
  /** Never expires, and is not deleted without `force`. */
  readonly pinned?: boolean;
  /** Names the creation: sent again, it is the same one. */
  readonly creationId?: string;
  /** Check everything and tell the name, build nothing. */
  readonly validateOnly?: boolean;
}

export interface WaitSettings extends CallSettings {
  /** Sees the context as it is, then after every change. */
  readonly onChange?: (context: Context) => void;
}

export interface ListSettings extends CallSettings {
  /** All but DELETED when absent. */
  readonly states?: readonly Exclude<ContextState, "UNSPECIFIED">[];
  /** Only contexts that have all of these. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly limit?: number;
}

/** What is to be changed; what is absent stays. */
export interface ContextChanges {
  readonly displayName?: string;
  /** Replaced whole. */
  readonly labels?: Readonly<Record<string, string>>;
  /** From now; `null`: it never expires. */
  readonly ttlSeconds?: number | null;
  readonly refreshOnUse?: boolean;
  readonly pinned?: boolean;
}

export interface WarmReplica {
  readonly workerAddress: string;
  readonly cache: CacheInfo;
}

export interface Contexts {
  /** Makes a context and waits until it can be asked. The same request twice is one context. */
  create(source: TextSource, settings: CreateSettings & WaitSettings): Promise<Context>;
  /** The same, back with its name as soon as the build is queued. */
  submit(source: TextSource, settings: CreateSettings): Promise<string>;
  /** Resolves when the build has ended well; throws its error when it failed, CONTEXT_NOT_FOUND when it was deleted. */
  wait(name: string, settings?: WaitSettings): Promise<Context>;
  /** The context as it is, then after every change, until it is ACTIVE, FAILED or deleted. */
  watch(name: string, settings?: CallSettings): AsyncIterableIterator<Context>;
  get(name: string, settings?: CallSettings): Promise<Context>;
  /** Oldest first. */
  list(settings?: ListSettings): AsyncIterableIterator<Context>;
  /** With an etag, CONTEXT_CHANGED when somebody changed it since. */
  update(name: string, changes: ContextChanges, settings?: CallSettings & { readonly etag?: string }): Promise<Context>;
  /** The context as it can be undeleted; undefined when it is gone for good. */
  delete(
    name: string,
    settings?: CallSettings & { readonly purge?: boolean; readonly force?: boolean; readonly etag?: string },
  ): Promise<Context | undefined>;
  undelete(name: string, settings?: CallSettings): Promise<Context>;
  /** Loads a context at workers ahead of its first question. */
  warm(name: string, settings?: CallSettings & { readonly replicas?: number }): Promise<WarmReplica[]>;
}

type CreateRequest = ReturnType<typeof createRequest>;

export function createContexts(connection: Connection): Contexts {
  const contexts: Contexts = {
    async create(source, settings) {
      const { onChange, ...creation } = settings;
      const { signal, deadlineMs = Number.POSITIVE_INFINITY } = callOptions(settings);
      const name = await contexts.submit(source, creation);
      const rest = Number.isFinite(deadlineMs) ? { timeoutMs: Math.max(1, deadlineMs - Date.now()) } : {};
      return contexts.wait(name, {
        ...(signal === undefined ? {} : { signal }),
        ...(onChange === undefined ? {} : { onChange }),
        ...rest,
      });
    },
    async submit(source, settings) {
      const shipment = shipmentOf(source);
      let isSpent = false;
      const send = (api: Api, options: CallOptions): Promise<Operation> => {
        isSpent = shipment.kind === "upload" && !shipment.isRepeatable;
        return ship(api, createRequest(settings), shipment, options);
      };
      const operation = await callOnce(connection, settings, send, (error) => !isSpent && isTransient(error));
      const metadata = operation.metadata && anyUnpack(operation.metadata, CreateContextMetadataSchema);
      if (metadata === undefined) {
        throw new KvaultError("INTERNAL", `Cannot follow operation "${operation.name}": it names no context`);
      }
      return metadata.context;
    },
    async wait(name, { onChange, ...settings } = {}) {
      for await (const context of contexts.watch(name, settings)) {
        onChange?.(context);
        if (context.state === "ACTIVE") return context;
        if (context.state !== "FAILED") continue;
        throw context.error ?? new KvaultError("CONTEXT_FAILED", `Cannot build "${name}": no reason given`);
      }
      throw new KvaultError("CONTEXT_NOT_FOUND", `Cannot follow "${name}": it was deleted`, { details: { context: name } });
    },
    async *watch(name, settings = {}) {
      const options = callOptions(settings);
      const tries = createTries(connection.retry, options);
      const open = (api: Api) => api.contexts.watchContext({ name: contextName(name) }, options);
      // A watch begins with a snapshot, so that one that broke is begun anew.
      for await (const { context, deleted } of callAgain(connection, tries, open)) {
        if (deleted || context === undefined) return;
        tries.progressed();
        yield contextOf(context);
      }
    },
    async get(name, settings = {}) {
      const request = { name: contextName(name) };
      return contextOf(await callOnce(connection, settings, ({ contexts: api }, options) => api.getContext(request, options)));
    },
    async *list({ states = [], labels = {}, limit = Number.POSITIVE_INFINITY, ...settings } = {}) {
      let left = limit;
      let pageToken = "";
      do {
        const request = {
          pageSize: Math.min(PAGE_SIZE, left),
          pageToken,
          labels: { ...labels },
          states: states.map((state) => Context_State[state]),
        };
        const page = await callOnce(connection, settings, ({ contexts: api }, options) => api.listContexts(request, options));
        for (const context of page.contexts) yield contextOf(context);
        left -= page.contexts.length;
        pageToken = page.nextPageToken;
      } while (pageToken !== "" && left > 0);
    },
    async update(name, changes, { etag = "", ...settings } = {}) {
      const request = updateRequest(contextName(name), changes, etag);
      // Whether a lost call came through is not known, and with an etag it must come through only once.
      const canRepeat = ({ code }: KvaultError): boolean => etag === "" || code !== "UNREACHABLE";
      const changed = await callOnce(
        connection,
        settings,
        ({ contexts: api }, options) => api.updateContext(request, options),
        (error) => isTransient(error) && canRepeat(error),
      );
      return contextOf(changed);
    },
    async delete(name, { purge = false, force = false, etag = "", ...settings } = {}) {
      const request = { name: contextName(name), purge, force, etag };
      const reply = await callOnce(connection, settings, ({ contexts: api }, options) => api.deleteContext(request, options));
      return reply.context && contextOf(reply.context);
    },
    async undelete(name, settings = {}) {
      const request = { name: contextName(name) };
      return contextOf(
        await callOnce(connection, settings, ({ contexts: api }, options) => api.undeleteContext(request, options)),
      );
    },
    async warm(name, { replicas = 1, ...settings } = {}) {
      const request = { name: contextName(name), replicas };
      const reply = await callOnce(connection, settings, ({ contexts: api }, options) => api.warmContext(request, options));
      return reply.replicas.map(({ workerAddress, cache }) => ({ workerAddress, cache: cacheInfoOf(cache) }));
    },
  };
  return contexts;
}

function createRequest(settings: CreateSettings) {
  const { model, method = "", keepRatio, displayName = "", labels, ttlSeconds } = settings;
  const { refreshOnUse = false, pinned = false, creationId = "", validateOnly = false } = settings;
  return {
    model,
    compression: { spec: method, ...(keepRatio === undefined ? {} : { keepRatio }) },
    displayName,
    labels: { ...labels },
    refreshOnUse,
    pinned,
    requestId: creationId,
    validateOnly,
    ...(ttlSeconds === undefined ? {} : { ttl: durationFromMs(ttlSeconds * 1000) }),
  };
}

function ship({ contexts }: Api, request: CreateRequest, shipment: Shipment, options: CallOptions): Promise<Operation> {
  if (shipment.kind === "inline") return contexts.createContext({ ...request, content: shipment.content }, options);
  return contexts.uploadContext(upload(request, shipment.open()), options);
}

async function* upload(
  request: CreateRequest,
  pieces: AsyncIterable<Uint8Array>,
): AsyncGenerator<MessageInitShape<typeof UploadContextRequestSchema>> {
  yield { payload: { case: "request", value: request } };
  for await (const value of pieces) yield { payload: { case: "text", value } };
}

function updateRequest(name: string, changes: ContextChanges, etag: string) {
  const { displayName, labels, ttlSeconds, refreshOnUse, pinned } = changes;
  const context: MessageInitShape<typeof ContextSchema> = {
    name,
    etag,
    ...(displayName === undefined ? {} : { displayName }),
    ...(labels === undefined ? {} : { labels: { ...labels } }),
    ...(typeof ttlSeconds === "number" ? { ttl: durationFromMs(ttlSeconds * 1000) } : {}),
    ...(refreshOnUse === undefined ? {} : { refreshOnUse }),
    ...(pinned === undefined ? {} : { pinned }),
  };
  const paths = [
    ...(displayName === undefined ? [] : ["display_name"]),
    ...(labels === undefined ? [] : ["labels"]),
    ...(ttlSeconds === undefined ? [] : [ttlSeconds === null ? "expire_time" : "ttl"]),
    ...(refreshOnUse === undefined ? [] : ["refresh_on_use"]),
    ...(pinned === undefined ? [] : ["pinned"]),
  ];
  return { context, updateMask: { paths } };
}
