/**
 * Which addresses of a Service are ready, as Kubernetes sees it: a list of its EndpointSlices, then
 * a watch from there. A watch that ended goes on where it was; one that is too old (410) or broken
 * begins with a new list, after a pause that doubles from half a second to half a minute.
 *
 * What was known stays known while the API does not answer, for a minute: after that nothing is, and
 * whoever asks has to do without (the registry's beats find dead workers too, only later).
 *
 * @module
 */
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { type KubernetesAccess, KubernetesApi, KubernetesStatus } from "./kubernetes-api.ts";

const slice = z.object({
  metadata: z.object({ name: z.string(), resourceVersion: z.string() }),
  addressType: z.string(),
  // Absent and null are both "none".
  endpoints: z
    .array(z.object({ addresses: z.array(z.string()), conditions: z.object({ ready: z.boolean().optional() }).optional() }))
    .nullish(),
  ports: z.array(z.object({ port: z.number().nullish() })).nullish(),
});
type Slice = z.infer<typeof slice>;

const sliceList = z.object({
  metadata: z.object({ resourceVersion: z.string(), continue: z.string().optional() }),
  items: z.array(slice).nullable(),
});

const watchEvent = z.discriminatedUnion("type", [
  z.object({ type: z.literal(["ADDED", "MODIFIED", "DELETED"]), object: slice }),
  z.object({ type: z.literal("BOOKMARK"), object: z.object({ metadata: z.object({ resourceVersion: z.string() }) }) }),
  z.object({ type: z.literal("ERROR"), object: z.object({ code: z.number().optional() }) }),
]);

/** Slices of one page of a list: some 100,000 endpoints would be 1,000 slices. */
const PAGE = 500;
const MAX_SLICES = 10_000;
/** The server ends a watch after this; bookmarks come about every minute. */
const WATCH_SECONDS = 300;
const SILENCE_MS = 330_000;
const FIRST_PAUSE_MS = 500;
const MAX_PAUSE_MS = 30_000;
/** How long what was known counts without a word from the API. */
const STALE_MS = 60_000;

export interface ReadyEndpointsOptions {
  readonly access: KubernetesAccess;
  /** Name of the Service. */
  readonly service: string;
  /** Told when the ready addresses have changed. */
  readonly onChange: () => void;
  /** Told of each failure; the next try comes by itself. */
  readonly onError: (error: unknown) => void;
  /** 0.5 s. */
  readonly firstPauseMs?: number;
  /** 60 s. */
  readonly staleMs?: number;
}

export class ReadyEndpoints {
  readonly #options: ReadyEndpointsOptions;
  readonly #api: KubernetesApi;
  readonly #slices = new Map<string, Slice>();
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #path = "";
  #version = "";
  /** While a watch runs what is known is fresh; else until when it counts. */
  #watching = false;
  #freshUntilMs = 0;

  constructor(options: ReadyEndpointsOptions) {
    this.#options = options;
    this.#api = new KubernetesApi(options.access);
    this.#running = this.#run();
  }

  /** `host:port` of everything ready; undefined when that is not known. */
  get addresses(): ReadonlySet<string> | undefined {
    if (!this.#watching && performance.now() >= this.#freshUntilMs) return undefined;
    return new Set([...this.#slices.values()].flatMap(readyAddresses));
  }

  /** Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    const { firstPauseMs = FIRST_PAUSE_MS, staleMs = STALE_MS, onError } = this.#options;
    let pauseMs = firstPauseMs;
    while (!signal.aborted) {
      try {
        if (this.#version === "") await this.#list();
        this.#watching = true;
        for await (const line of this.#watch()) {
          this.#take(line);
          pauseMs = firstPauseMs;
        }
        this.#freshUntilMs = performance.now() + staleMs;
        // Ended as asked, or by a server that ends every watch at once: never a loop without a pause.
        await pause(firstPauseMs, signal);
      } catch (error) {
        if (signal.aborted) break;
        if (this.#watching) this.#freshUntilMs = performance.now() + staleMs;
        this.#watching = false;
        this.#version = "";
        const isTooOld = error instanceof KubernetesStatus && error.code === 410;
        if (!isTooOld) onError(error);
        await pause(pauseMs, signal);
        pauseMs = Math.min(MAX_PAUSE_MS, pauseMs * 2);
      }
    }
  }

  async #list(): Promise<void> {
    const { service } = this.#options;
    const namespace = await this.#api.namespace();
    const selector = encodeURIComponent(`kubernetes.io/service-name=${service}`);
    this.#path = `/apis/discovery.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/endpointslices?labelSelector=${selector}`;
    const found = new Map<string, Slice>();
    let page = "";
    let version = "";
    do {
      const more = page === "" ? "" : `&continue=${encodeURIComponent(page)}`;
      const list = sliceList.parse(await this.#api.get(`${this.#path}&limit=${PAGE}${more}`, this.#stop.signal));
      for (const item of list.items ?? []) found.set(item.metadata.name, item);
      page = list.metadata.continue ?? "";
      version = list.metadata.resourceVersion;
    } while (page !== "" && found.size < MAX_SLICES);
    this.#slices.clear();
    for (const [name, item] of found) this.#slices.set(name, item);
    this.#version = version;
    this.#watching = true;
    this.#options.onChange();
  }

  #watch(): AsyncGenerator<unknown, void, undefined> {
    const query = `watch=1&allowWatchBookmarks=true&timeoutSeconds=${WATCH_SECONDS}&resourceVersion=${this.#version}`;
    return this.#api.lines(`${this.#path}&${query}`, SILENCE_MS, this.#stop.signal);
  }

  #take(line: unknown): void {
    const { type, object } = watchEvent.parse(line);
    if (type === "ERROR") throw new KubernetesStatus(object.code ?? 500, this.#path);
    this.#version = object.metadata.resourceVersion;
    if (type === "BOOKMARK") return;
    if (type === "DELETED") this.#slices.delete(object.metadata.name);
    else if (this.#slices.size < MAX_SLICES) this.#slices.set(object.metadata.name, object);
    this.#options.onChange();
  }
}

/** An endpoint that says nothing of being ready is (API reference of EndpointConditions). */
function readyAddresses({ addressType, endpoints, ports }: Slice): string[] {
  const ready = (endpoints ?? []).filter(({ conditions }) => conditions?.ready !== false).flatMap(({ addresses }) => addresses);
  const hosts = addressType === "IPv6" ? ready.map((address) => `[${address}]`) : ready;
  return (ports ?? []).flatMap(({ port }) => (typeof port === "number" ? hosts.map((host) => `${host}:${port}`) : []));
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms * (0.5 + Math.random()), undefined, { signal }).catch(() => undefined);
}
