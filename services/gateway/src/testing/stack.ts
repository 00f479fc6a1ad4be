/**
 * A whole gateway for tests: real gRPC over unix sockets, fake workers behind it.
 *
 * @module
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BlobStore, openMemoryStore } from "@kvault/kvstore";
import { openHub } from "@kvault/model";
import {
  anyUnpack,
  type Channel,
  type Client,
  Contexts,
  CreateContextMetadataSchema,
  type CreateContextRequestSchema,
  createClient,
  durationFromMs,
  Inference,
  type MessageInitShape,
  Models,
  type Operation,
  Operations,
  openChannel,
  type QueryResponse,
} from "@kvault/rpc";
import { type GatewayOptions, type RunningGateway, startGateway } from "../start-gateway.ts";
import { type FakeWorker, startFakeWorker, type WorkerScript } from "./fake-worker.ts";

export const MODEL = "qwen2.5-coder-0.5b";
/** Of {@link MODEL}. */
export const MAX_TOKENS = 32_768;

export interface Stack {
  readonly gateway: RunningGateway;
  readonly channel: Channel;
  readonly store: BlobStore;
  readonly prefill: FakeWorker[];
  readonly decode: FakeWorker[];
  readonly contexts: Client<typeof Contexts>;
  readonly inference: Client<typeof Inference>;
  readonly models: Client<typeof Models>;
  readonly operations: Client<typeof Operations>;
}

const closing: (() => unknown)[] = [];

/** Runs at the next {@link closeAll}, last one first. */
export function onClose(close: () => unknown): void {
  closing.push(close);
}

/** For afterEach(). */
export async function closeAll(): Promise<void> {
  for (const close of closing.splice(0).reverse()) await close();
}

/** A folder that is gone after {@link closeAll}; short enough for unix sockets. */
export async function temporaryFolder(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "kv-"));
  onClose(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** A gateway with real sockets, memory store and fake workers; all closed by {@link closeAll}. */
export async function startStack(
  scripts: { readonly prefill?: readonly WorkerScript[]; readonly decode?: readonly WorkerScript[] } = {},
  options: Partial<GatewayOptions> = {},
): Promise<Stack> {
  const dir = await temporaryFolder();
  const startAll = (kind: string, list: readonly WorkerScript[]): Promise<FakeWorker[]> =>
    Promise.all(list.map((script, i) => startFakeWorker(`unix:${join(dir, `${kind}${i}.sock`)}`, script)));
  const prefill = await startAll("p", scripts.prefill ?? [{}]);
  const decode = await startAll("d", scripts.decode ?? [{}]);
  for (const worker of [...prefill, ...decode]) onClose(() => worker.server.close({ drainMs: 0 }));
  const store = options.store === undefined ? openMemoryStore() : (options.store as BlobStore);
  const gateway = await startGateway({
    address: `unix:${join(dir, "gateway.sock")}`,
    store,
    models: await openHub({ cacheDir: dir, offline: true }),
    queueUrl: "local:",
    queue: { backoffMs: 2 },
    prefillWorkers: prefill.map(({ address }) => address),
    decodeWorkers: decode.map(({ address }) => address),
    log: { info: () => undefined, warn: () => undefined, error: () => undefined },
    ...options,
  });
  onClose(() => gateway.close({ drainMs: 0 }));
  const channel = openChannel(gateway.address);
  onClose(() => channel.close());
  return {
    gateway,
    channel,
    store,
    prefill,
    decode,
    contexts: createClient(Contexts, channel),
    inference: createClient(Inference, channel),
    models: createClient(Models, channel),
    operations: createClient(Operations, channel),
  };
}

export type Create = MessageInitShape<typeof CreateContextRequestSchema>;
export type More = Omit<Exclude<Create, { $typeName: string }>, "$typeName" | "content">;
/** A request for a context of `text`. */
export function request(text: string, more: More = {}): Create {
  return { model: MODEL, content: { content: { case: "text", value: text } }, ...more };
}

/** `contexts/{id}` or `operations/{id}` → id. */
export function idOf(name: string): string {
  return name.slice(name.indexOf("/") + 1);
}

/** Name of the context an operation is about. */
export function contextOf(operation: Operation): string {
  const metadata = operation.metadata && anyUnpack(operation.metadata, CreateContextMetadataSchema);
  if (metadata === undefined) throw new Error("operation without metadata");
  return metadata.context;
}

/** Creates a context, waits until its build is over, returns its name. */
export async function created(stack: Stack, text: string, more: More = {}): Promise<string> {
  const operation = await stack.contexts.createContext(request(text, more));
  const done = await stack.operations.waitOperation({ name: operation.name, timeout: durationFromMs(5_000) });
  if (!done.done) throw new Error("build not over in time");
  return contextOf(operation);
}

/** All deltas of an answer, joined. */
export function textOf(events: readonly QueryResponse[]): string {
  return events.map(({ event }) => (event.case === "delta" ? event.value.text : "")).join("");
}
