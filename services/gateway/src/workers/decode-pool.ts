/**
 * Decode workers: which one answers a query, and what happens when it cannot.
 *
 * Where a query goes is decided by {@link chooseWorker} over what the workers publish. A worker
 * that fails before the first token is replaced, at most twice. After it the answer moves: another
 * worker reads the question and the tokens already sent and goes on, and the caller sees nothing
 * but a pause. Moving is tried for longer than starting: what was streamed would be lost.
 *
 * @module
 */
import { setTimeout as sleep } from "node:timers/promises";
import { isKvaultError, KvaultError } from "@kvault/core";
import {
  type CallOptions,
  type CountTokensRequestSchema,
  type CountTokensResponse,
  type ExecuteRequestSchema,
  type ExecuteResponse,
  type InspectRequestSchema,
  type KeptPairs,
  type MessageInitShape,
  onward,
  type ServerCall,
  type StatusResponse,
  type WarmReplicaSchema,
} from "@kvault/rpc";
import { annotate, count, inSpan } from "@kvault/telemetry";
import { overloaded, shareOf } from "../admission/admission.ts";
import { RecentRequests } from "../explain/recent-requests.ts";
import { type Candidate, chooseWorker } from "../routing/choose-worker.ts";
import { rank } from "../routing/rendezvous.ts";
import { type WorkerSample, WorkerView } from "../routing/worker-view.ts";
import { Transcript } from "./transcript.ts";
import { type WorkerAccess, type WorkerLink, WorkerSet } from "./worker-link.ts";

/** Tries of one query after the first, before its first token. */
const MAX_RETRIES = 2;
/** How long an answer that lost its worker looks for another one without a new token. */
const MOVE_PATIENCE_MS = 30_000;
/** Wait before the first retry, doubled for every further one; up to as much again at random. */
const RETRY_BASE_MS = 100;
const MAX_RETRY_MS = 2_000;
/** How old a worker's own account of its load may get. */
const BEAT_INTERVAL_MS = 1_000;
/** Letting go of a context is best effort: a worker that does not answer holds it until it needs the room. */
const EVICT_TIMEOUT_MS = 2_000;
/** Warming is best effort too: a load that takes longer goes on at the worker, nobody waits for it. */
const WARM_TIMEOUT_MS = 60_000;
/** Loads ahead of a question under way at once; more are left to the first question. */
const MAX_WARMING = 16;

/** What a worker needs to make a context resident. */
export interface WarmTarget {
  readonly id: string;
  readonly digest: string;
  readonly model: string;
}

type Execution = MessageInitShape<typeof ExecuteRequestSchema>;

/** A worker that a query may go to. */
interface Option extends Candidate {
  readonly link: WorkerLink;
  readonly view: WorkerView;
}

interface Route {
  /** Names the context. */
  readonly affinity: string;
  /** What loading it takes. */
  readonly bytes: number;
  /** Part of a worker's places that may be filled. */
  readonly share: number;
}

export class DecodePool {
  readonly #workers: WorkerSet;
  readonly #views = new WeakMap<WorkerLink, WorkerView>();
  /** Loads ahead of a question, by context. */
  readonly #warming = new Map<string, AbortController>();

  readonly #recent: RecentRequests;

  constructor(addresses: readonly string[], access?: WorkerAccess, recent: RecentRequests = new RecentRequests()) {
    this.#recent = recent;
    this.#workers = new WorkerSet(addresses, {
      access,
      beatIntervalMs: BEAT_INTERVAL_MS,
      onBeat: (link) => {
        const view = this.#viewOf(link);
        const { own } = view;
        return (status) => view.observe(sampleOf(status), own);
      },
    });
  }

  async beat(): Promise<void> {
    await this.#workers.beat();
  }

  /** From now on these are the workers. */
  async setAddresses(addresses: readonly string[]): Promise<void> {
    await this.#workers.setAddresses(addresses);
  }

  /** All of them, live or not. */
  get links(): readonly WorkerLink[] {
    return this.#workers.links;
  }

  /** Streams one answer. `affinity` names the context, `bytes` what loading it takes. NO_CAPACITY when no worker has a free place. */
  async *execute(
    affinity: string,
    request: Execution,
    call: ServerCall,
    bytes = 0,
  ): AsyncGenerator<ExecuteResponse, void, undefined> {
    const route: Route = { affinity, bytes, share: shareOf(request.serviceClass ?? 0) };
    const sent = new Transcript(Date.now());
    let failed = new Set<WorkerLink>();
    let failures = 0;
    let lastProgressMs = Date.now();
    for (;;) {
      let option: Option | undefined;
      let end: (well: boolean) => void = () => undefined;
      let answered = false;
      let decision = "none";
      let tellAttempt: (outcome: string) => void = () => undefined;
      try {
        option = await inSpan("route", {}, async () => {
          const chosen = await this.#choose(route, failed, request);
          decision = decisionOf(chosen, failures, sent.length);
          annotate({ "kvault.route.decision": decision, "kvault.route.worker": chosen.link.address });
          return chosen;
        });
        count("kvault_route_total", 1, { decision });
        tellAttempt = this.#recent.attempt(call, { worker: option.link.address, decision, sentTokens: sent.length });
        end = option.view.begin(affinity, Date.now());
        for await (const response of option.link.client.execute(sent.rest(request), { ...onward(call), join: joinDeltas })) {
          const { event } = response;
          if (event.case === "delta") {
            lastProgressMs = Date.now();
            sent.add(event.value, lastProgressMs);
            if (failures > 0) failed = new Set();
            failures = 0;
          } else if (event.case === "answer") {
            answered = true;
            tellAttempt("OK");
            end(true);
            sent.complete(event.value, Date.now());
          }
          yield response;
        }
        if (answered) return;
        throw new KvaultError("UNREACHABLE", "Cannot finish the answer: the worker ended it early", {
          details: { worker: option.link.address },
        });
      } catch (error) {
        if (option === undefined) count("kvault_route_total", 1, { decision: "none" });
        tellAttempt(isKvaultError(error) ? error.code : "INTERNAL");
        if (call.signal.aborted || answered || !mayHelpElsewhere(error)) throw error;
        end(false);
        failures++;
        if (option !== undefined) {
          failed.add(option.link);
          blame(option, error);
        }
        const sentTokens = sent.length;
        // When all are full before any was asked, asking again at once finds them as full.
        const givenUp =
          sentTokens > 0
            ? Date.now() - lastProgressMs > MOVE_PATIENCE_MS
            : failures > MAX_RETRIES || (error.code === "NO_CAPACITY" && (failed.size === 0 || !this.#hasUntried(failed)));
        if (givenUp) throw error;
        const fields = { requestId: call.requestId, worker: option?.link.address, code: error.code, failures, sentTokens };
        call.log.warn(fields, sentTokens > 0 ? "answer moves to another worker" : "query tried again");
        // Nobody could be asked, or everybody was: at once it would be the same again.
        if (option === undefined || !this.#hasUntried(failed)) await pause(failures, call.signal);
      } finally {
        tellAttempt("CANCELLED");
        end(true);
      }
    }
  }

  /** Asks a worker that the context's questions will go to to load it ahead. False when that could not be done. */
  async warm(target: WarmTarget): Promise<boolean> {
    const choice = await this.#choose({ affinity: target.id, bytes: 0, share: 1 }, new Set()).catch(() => undefined);
    return choice !== undefined && (await this.#load(choice, target));
  }

  /** Makes a context resident at `replicas` workers, those that its questions prefer; where it is then. Fails when it could be loaded nowhere. */
  async warmAt(
    { id, digest, model }: WarmTarget,
    replicas: number,
    call: ServerCall,
  ): Promise<MessageInitShape<typeof WarmReplicaSchema>[]> {
    const waiting = rank(id, await this.#willing(), ({ address }) => address);
    const places = Math.min(replicas, waiting.length);
    const warmed: MessageInitShape<typeof WarmReplicaSchema>[] = [];
    let failure: unknown;
    const warmOne = async (): Promise<void> => {
      for (let link = waiting.shift(); link !== undefined; link = waiting.shift()) {
        try {
          const { cache } = await link.client.load({ contextId: id, digest, model }, onward(call));
          this.#viewOf(link).expect(id, Date.now());
          warmed.push({ workerAddress: link.address, ...(cache === undefined ? {} : { cache }) });
          return;
        } catch (error) {
          failure = error;
          if (!mayHelpElsewhere(error)) return;
        }
      }
    };
    await Promise.all(Array.from({ length: places }, warmOne));
    if (warmed.length === 0) throw failure;
    return warmed;
  }

  /** Tokens as a worker's engine counts them: one that has the model open, if there is one. */
  async countTokens(
    request: MessageInitShape<typeof CountTokensRequestSchema> & { readonly model: string },
    options: CallOptions,
  ): Promise<CountTokensResponse> {
    const willing = await this.#willing();
    const load = (link: WorkerLink): number => link.lastStatus?.runningQueries ?? 0;
    const hasModel = (link: WorkerLink): boolean => link.lastStatus?.models.includes(request.model) ?? false;
    const ranked = [...willing].sort((a, b) => Number(hasModel(b)) - Number(hasModel(a)) || load(a) - load(b));
    return firstAnswer(ranked, ({ client }) => client.countTokens(request, options), options);
  }

  /** Which pairs a record kept, read by the workers that its questions prefer: they have its bytes near. */
  async inspect(
    request: MessageInitShape<typeof InspectRequestSchema> & { readonly contextId: string },
    options: CallOptions,
  ): Promise<KeptPairs> {
    const ranked = rank(request.contextId, await this.#willing(), ({ address }) => address);
    return firstAnswer(ranked, ({ client }) => client.inspect(request, options), options);
  }

  /** Tells every worker to let go of a context. */
  async evict(contextId: string): Promise<void> {
    this.#warming.get(contextId)?.abort(new KvaultError("CANCELLED", "Cannot load the context: it is let go"));
    const deadlineMs = Date.now() + EVICT_TIMEOUT_MS;
    await Promise.allSettled(
      this.#workers.live.map((link) => {
        this.#viewOf(link).forget(contextId);
        return link.client.evict({ contextId }, { deadlineMs });
      }),
    );
  }

  close(): void {
    for (const controller of this.#warming.values()) controller.abort();
    this.#workers.close();
  }

  async #load({ link, view }: Option, { id, digest, model }: WarmTarget): Promise<boolean> {
    if (this.#warming.size >= MAX_WARMING || this.#warming.has(id)) return false;
    const controller = new AbortController();
    this.#warming.set(id, controller);
    try {
      await link.client.load(
        { contextId: id, digest, model },
        { signal: controller.signal, deadlineMs: Date.now() + WARM_TIMEOUT_MS },
      );
      view.expect(id, Date.now());
      return true;
    } catch {
      return false;
    } finally {
      this.#warming.delete(id);
    }
  }

  /** The worker for this query among those that have not failed it, else among all that live. */
  async #choose(route: Route, failed: ReadonlySet<WorkerLink>, request?: Execution): Promise<Option> {
    const { affinity, bytes, share } = route;
    const live = await this.#live();
    const nowMs = Date.now();
    const options = live.map((link) => {
      const view = this.#viewOf(link);
      return { link, view, ...view.candidate(affinity, nowMs, share) };
    });
    const fresh = options.filter(({ link, view }) => !failed.has(link) && !view.isDraining && !view.isMarked(nowMs));
    // When all are marked, or have failed, whoever lives is better than nobody.
    const choice = chooseWorker(affinity, bytes, fresh.length > 0 ? fresh : options);
    if (choice === undefined) {
      const seconds = Math.min(...options.map(({ secondsPerQuery }) => secondsPerQuery));
      throw overloaded(`all ${options.length} decode workers are full`, seconds, { workers: options.length });
    }
    const { chosen, replicateTo } = choice;
    const { digest = "", model = "" } = request ?? {};
    if (replicateTo !== undefined && request?.source?.case === "contextId") {
      void this.#load(replicateTo, { id: affinity, digest, model });
    }
    return chosen;
  }

  /** Those that answer; NO_CAPACITY when none does. */
  async #live(): Promise<readonly WorkerLink[]> {
    const live = await this.#workers.liveNow();
    if (live.length > 0) return live;
    const workers = this.#workers.links.length;
    throw new KvaultError("NO_CAPACITY", "Cannot answer: no decode worker answers", { details: { workers } });
  }

  /** Those of them that are not stopping; when all are, all. */
  async #willing(): Promise<readonly WorkerLink[]> {
    const live = await this.#live();
    const willing = live.filter((link) => !this.#viewOf(link).isDraining);
    return willing.length > 0 ? willing : live;
  }

  #hasUntried(failed: ReadonlySet<WorkerLink>): boolean {
    return this.#workers.live.some((link) => !failed.has(link));
  }

  #viewOf(link: WorkerLink): WorkerView {
    let view = this.#views.get(link);
    if (view === undefined) {
      view = new WorkerView(link.address);
      this.#views.set(link, view);
    }
    return view;
  }
}

/** Pieces of text that wait for their reader become one: under load there are fewer messages, not later ones. */
function joinDeltas(waiting: ExecuteResponse, next: ExecuteResponse): ExecuteResponse | undefined {
  if (waiting.event.case !== "delta" || next.event.case !== "delta") return undefined;
  waiting.event.value.text += next.event.value.text;
  waiting.event.value.tokenIds.push(...next.event.value.tokenIds);
  return waiting;
}

/** What the first of `ranked` says that does not fail by a trouble of its own. */
async function firstAnswer<T>(
  ranked: readonly WorkerLink[],
  ask: (link: WorkerLink) => Promise<T>,
  { signal }: CallOptions,
): Promise<T> {
  let failure: unknown;
  for (const link of ranked.slice(0, 1 + MAX_RETRIES)) {
    try {
      return await ask(link);
    } catch (error) {
      failure = error;
      if (signal?.aborted === true || !mayHelpElsewhere(error)) throw error;
    }
  }
  throw failure;
}

/** Why a worker is asked, for metrics and whoever wants it explained. */
function decisionOf({ resident }: Option, failures: number, sentTokens: number): string {
  if (failures > 0) return sentTokens > 0 ? "move" : "retry";
  return resident ? "resident" : "load";
}

/** The worker's trouble, not the query's. */
function mayHelpElsewhere(error: unknown): error is KvaultError {
  if (isKvaultError(error, "NO_CAPACITY")) return error.retryable;
  return isKvaultError(error, "UNREACHABLE", "DRAINING", "ENGINE_DIED", "CLOSED");
}

/** Spares the worker that failed for a while. */
function blame({ link, view }: Option, { code }: KvaultError): void {
  const nowMs = Date.now();
  if (code === "NO_CAPACITY") view.markFull(nowMs);
  else view.mark(nowMs);
  if (code === "UNREACHABLE" || code === "DRAINING") void link.beat();
}

async function pause(failures: number, signal: AbortSignal): Promise<void> {
  const ms = Math.min(MAX_RETRY_MS, RETRY_BASE_MS * 2 ** (failures - 1)) * (1 + Math.random());
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}

function sampleOf(status: StatusResponse): WorkerSample {
  return {
    ...status,
    residentBytes: Number(status.residentBytes),
    residentLimitBytes: Number(status.residentLimitBytes),
  };
}
