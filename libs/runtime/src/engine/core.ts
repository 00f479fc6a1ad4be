/**
 * What an engine process holds, and its methods: models, resident contexts, the run loop, the
 * store. Builds run one at a time, since each holds a whole uncompressed cache; queries run
 * together.
 *
 * @module
 */
import { openProfiles, type ProfileStore } from "@kvault/compression";
import { orAborted, throwIfAborted } from "@kvault/core";
import { type BlobStore, KeyRing } from "@kvault/kvstore";
import { RunLoop } from "../batching/run-loop.ts";
import { buildContext } from "./builds.ts";
import { ResidentContexts } from "./contexts.ts";
import { inspectContext } from "./inspect-context.ts";
import { inspectScores } from "./inspect-scores.ts";
import { ModelCache, type OpenModel } from "./models.ts";
import { answerQuery } from "./queries.ts";
import type { EngineCore, EngineHandlers } from "./serve.ts";
import { findStoredContext, type MakeResident } from "./stored-context.ts";

/** Two models fit a machine that serves one and tries another. */
const DEFAULT_MAX_MODELS = 2;

export interface EngineCoreOptions {
  /** Closed with the engine. */
  readonly store: BlobStore;
  /** Seals and opens parts; none are sealed when absent. */
  readonly keys?: KeyRing;
  readonly openModel: OpenModel;
  readonly makeResident: MakeResident;
  /** Measurements of models; those that came with the package when absent. */
  readonly profiles?: ProfileStore;
  readonly residentBytes: number;
  readonly maxModels?: number;
  readonly checkpointTokens?: number;
  readonly lostContextIds: readonly string[];
}

export function createEngineCore(options: EngineCoreOptions): EngineCore {
  const { store, openModel, makeResident, residentBytes, lostContextIds } = options;
  const keys = options.keys ?? new KeyRing(store, undefined);
  const kept = options.checkpointTokens === undefined ? {} : { checkpointTokens: options.checkpointTokens };
  const profiles = options.profiles ?? openProfiles();
  const nowMs = (): number => performance.now();
  const models = new ModelCache(openModel, options.maxModels ?? DEFAULT_MAX_MODELS);
  const loop = new RunLoop(nowMs);
  const contexts = new ResidentContexts({
    budgetBytes: residentBytes,
    lostContextIds,
    find: async (request, signal) => {
      const lease = await models.acquire(request.model, { signal });
      try {
        const { config, identity } = lease.runner;
        return await findStoredContext({ store, keys, makeResident, config, identity }, request, signal);
      } finally {
        lease.release();
      }
    },
  });
  const inTurn = takeTurns();
  const inspectInTurn = takeTurns();

  const handlers: EngineHandlers = {
    build: ({ asksBeforeCommit = false, ...request }, { signal, emit, waitedMs, proceed }) => {
      const receivedMs = nowMs() - waitedMs;
      const beforeCommit = async (): Promise<void> => {
        if (!asksBeforeCommit) return;
        emit({ phase: "commit" });
        await orAborted(proceed, signal);
      };
      return inTurn(signal, () => {
        const queuedSeconds = (nowMs() - receivedMs) / 1_000;
        return buildContext({ store, keys, models, loop, profiles, ...kept }, request, {
          signal,
          onProgress: emit,
          beforeCommit,
          queuedSeconds,
        });
      });
    },
    query: (request, { signal, emit, waitedMs }) => {
      const receivedMs = nowMs() - waitedMs;
      const deps = { models, contexts, loop, makeResident, nowMs };
      return answerQuery(deps, request, { signal, onDelta: emit, receivedMs });
    },
    async load(request, { signal }) {
      const { cache, release } = await contexts.acquire(request, signal);
      release();
      const lease = await models.acquire(request.model, { signal });
      await lease.runner.prepareSteps().finally(() => lease.release());
      return cache;
    },
    evict: async ({ contextId }) => contexts.evict(contextId),
    inspectContext: (request, { signal }) =>
      inspectInTurn(signal, () => inspectContext({ store, keys, models }, request, signal)),
    async countTokens({ model, content, question }, { signal }) {
      const { runner, release } = await models.acquire(model, { signal });
      try {
        const { prompts, config } = runner;
        const prompt = content === undefined ? undefined : prompts.context(content);
        return {
          contextTokens: prompt?.contextIds.length ?? 0,
          prefixTokens: prompt?.prefixIds.length ?? 0,
          questionTokens: question === "" ? 0 : prompts.question(question).length,
          maxTokens: config.maxTokens,
        };
      } finally {
        release();
      }
    },
    async openModel({ model }, { signal, emit }) {
      const lease = await models.acquire(model, { signal, onProgress: emit });
      const { config, identity } = lease.runner;
      lease.release();
      return { config, identity };
    },
    inspectScores: (request, { signal, emit }) =>
      inTurn(signal, () => inspectScores({ models, loop, profiles }, request, { signal, onProgress: emit })),
  };

  return {
    handlers,
    snapshot: () => ({
      residentContextIds: contexts.ids,
      residentBytes: contexts.bytes,
      models: models.names,
      occupiedBytes: contexts.occupiedBytes,
      evictions: contexts.evictions,
    }),
    async close() {
      loop.close();
      await models.close();
      await store.close();
    },
  };
}

/** Runs one `work` after another, in the order they came. */
function takeTurns(): <T>(signal: AbortSignal, work: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return async (signal, work) => {
    const previous = last;
    const mine = orAborted(previous, signal).then(() => {
      throwIfAborted(signal);
      return work();
    });
    // Whoever comes next waits for both: leaving the queue must not let it overtake the one in front.
    last = Promise.allSettled([previous, mine]);
    return mine;
  };
}
