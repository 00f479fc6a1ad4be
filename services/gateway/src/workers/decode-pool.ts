/**
 * Decode workers: every context has a favourite among the live ones, so that it is resident in
 * one place; a query moves on to another only before its first token.
 *
 * @module
 */
import { setTimeout as sleep } from "node:timers/promises";
import { isKvaultError, KvaultError } from "@kvault/core";
import { type ExecuteRequestSchema, type ExecuteResponse, type MessageInitShape, onward, type ServerCall } from "@kvault/rpc";
import { rank } from "../routing/rendezvous.ts";
import { type WorkerLink, WorkerSet } from "./worker-link.ts";

/** Tries of one query after the first. */
const MAX_RETRIES = 2;
/** Wait before the first retry, doubled for the second; up to as much again at random. */
const RETRY_BASE_MS = 100;
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

export class DecodePool {
  readonly #workers: WorkerSet;
  /** Loads ahead of a question, by context. */
  readonly #warming = new Map<string, AbortController>();

  constructor(addresses: readonly string[]) {
    this.#workers = new WorkerSet(addresses);
  }

  async beat(): Promise<void> {
    await this.#workers.beat();
  }

  /**
   * Streams one answer. `affinity` names the context. A worker that dies before the first event is
   * replaced, at most twice; after it the error goes to the caller, who may ask again.
   */
  async *execute(
    affinity: string,
    request: MessageInitShape<typeof ExecuteRequestSchema>,
    call: ServerCall,
  ): AsyncGenerator<ExecuteResponse, void, undefined> {
    const failed = new Set<WorkerLink>();
    for (let retry = 0; ; retry++) {
      const link = await this.#choose(affinity, failed);
      let started = false;
      let answered = false;
      try {
        for await (const response of link.client.execute(request, onward(call))) {
          started = true;
          yield response;
          if (response.event.case === "answer") answered = true;
        }
        if (answered) return;
        throw new KvaultError("UNREACHABLE", "Cannot finish the answer: the worker ended it early", {
          details: { worker: link.address },
        });
      } catch (error) {
        if (isKvaultError(error, "UNREACHABLE", "DRAINING")) link.endLease();
        const mayHelp = isKvaultError(error, "UNREACHABLE", "DRAINING", "ENGINE_DIED", "CLOSED");
        if (started || !mayHelp || retry >= MAX_RETRIES || call.signal.aborted) throw error;
        failed.add(link);
        call.log.warn(
          { requestId: call.requestId, worker: link.address, code: error.code, retry: retry + 1 },
          "query tried again",
        );
        await sleep(RETRY_BASE_MS * 2 ** retry * (1 + Math.random()), undefined, { signal: call.signal }).catch(() => undefined);
      }
    }
  }

  /** Asks the context's favourite to load it ahead of the first question. False when that could not be done. */
  async warm({ id, digest, model }: WarmTarget): Promise<boolean> {
    if (this.#warming.size >= MAX_WARMING || this.#warming.has(id)) return false;
    const controller = new AbortController();
    this.#warming.set(id, controller);
    try {
      const link = await this.#choose(id, new Set());
      await link.client.load(
        { contextId: id, digest, model },
        { signal: controller.signal, deadlineMs: Date.now() + WARM_TIMEOUT_MS },
      );
      return true;
    } catch {
      return false;
    } finally {
      this.#warming.delete(id);
    }
  }

  /** Tells every worker to let go of a context. */
  async evict(contextId: string): Promise<void> {
    this.#warming.get(contextId)?.abort(new KvaultError("CANCELLED", "Cannot load the context: it is let go"));
    const deadlineMs = Date.now() + EVICT_TIMEOUT_MS;
    await Promise.allSettled(this.#workers.live.map((link) => link.client.evict({ contextId }, { deadlineMs })));
  }

  close(): void {
    for (const controller of this.#warming.values()) controller.abort();
    this.#workers.close();
  }

  /** The context's favourite among those that have not failed this query, else among all that live. */
  async #choose(affinity: string, failed: ReadonlySet<WorkerLink>): Promise<WorkerLink> {
    const live = rank(affinity, await this.#workers.liveNow(), (link) => link.address);
    const link = live.find((candidate) => !failed.has(candidate)) ?? live[0];
    if (link !== undefined) return link;
    const workers = this.#workers.links.length;
    throw new KvaultError("NO_CAPACITY", "Cannot answer: no decode worker answers", { details: { workers } });
  }
}
