/**
 * Building a record: prefill → score → select → encode and publish layer by layer → commit.
 *
 * Memory: the uncompressed cache and one layer more; a layer's parts travel to the store while
 * the next one is encoded. Nothing exists before the commit: on any failure the parts put so
 * far are removed, and after a kill they are garbage that the store's sweep finds.
 *
 * `seconds` are wall time and add up: while a part travels, time counts for `compress` as long
 * as there is something to encode and for `publish` from then on. The commit itself comes
 * after the report was written and is not in it.
 *
 * @module
 */
import {
  type Codec,
  type CompressionPlan,
  type EncodableLayer,
  encodeLayer,
  findProfiles,
  keepRows,
  layerRows,
  type ProfileStore,
  refitRows,
  resolveSpec,
  type Selection,
  selectPairs,
  sourceLayer,
} from "@kvault/compression";
import { type DenseLayerKv, invalidArgument, isKvaultError, KvaultError, throwIfAborted } from "@kvault/core";
import {
  type BlobStore,
  type BuildSeconds,
  type ContextIdentity,
  type ContextManifest,
  contentSha256,
  contextDigest,
  contextIdOf,
  createManifest,
  ENCRYPTION,
  type KeyRing,
  type LayerManifest,
  openRecordWriter,
  type PartPlace,
  type PartRef,
  RECORD_FORMAT_VERSION,
  type RecordWriter,
  readManifest,
  saltedContent,
} from "@kvault/kvstore";
import { type ContextPrompt, type ModelConfig, ropeFrequencies, windowOf } from "@kvault/model";
import { inSpan, pastSpan } from "@kvault/telemetry";
import type { RunLoop } from "../batching/run-loop.ts";
import { yieldToEventLoop } from "../event-loop.ts";
import type { ModelRunner, PrefilledContext, RunOptions } from "../model-runner.ts";
import { StoreCheckpoints } from "./checkpoints.ts";
import type { ModelCache } from "./models.ts";
import { PhaseClock } from "./phase-clock.ts";
import { readContext } from "./read-context.ts";
import { gatherScoreSource, inputsOf, prefillFor } from "./score-source.ts";
import type { BuildPhase, BuildProgress, BuildRequest, BuildResult } from "./types.ts";
import { withWindows } from "./with-windows.ts";

type BuildClock = PhaseClock<Exclude<keyof BuildSeconds, "queue">>;

export interface BuildDeps {
  readonly store: BlobStore;
  readonly keys: Pick<KeyRing, "sealer">;
  readonly models: ModelCache;
  readonly loop: RunLoop;
  readonly profiles: ProfileStore;
  /** Contexts of so many tokens and more keep checkpoints of their prefill; never when absent. */
  readonly checkpointTokens?: number;
}

export interface BuildCall {
  readonly signal: AbortSignal;
  readonly onProgress: (progress: BuildProgress) => void;
  /** Awaited when only the commit is left. */
  readonly beforeCommit: () => Promise<void>;
  /** Seconds the build waited before this. */
  readonly queuedSeconds: number;
}

/**
 * Builds and publishes a context, or finds the record that an earlier build of the same
 * request left. INVALID_ARGUMENT for an empty context, TOKEN_LIMIT for one too long,
 * INCOMPATIBLE_MODEL when the request was made for another model, tokenizer, spec or profiles,
 * PROFILE_NOT_FOUND when the method rests on a measurement that is not here.
 */
export async function buildContext(deps: BuildDeps, request: BuildRequest, call: BuildCall): Promise<BuildResult> {
  const existing = await findCommitted(deps.store, request, call.signal);
  if (existing !== undefined) return { manifest: existing, created: false };
  const plan = resolveSpec(request.spec);
  const clock: BuildClock = new PhaseClock("load");
  call.onProgress({ phase: "loading", done: 0, total: 0 });
  const lease = await deps.models.acquire(request.model, {
    signal: call.signal,
    onProgress: ({ doneBytes, totalBytes }) =>
      call.onProgress({ phase: "loading", done: mebibytes(doneBytes), total: mebibytes(totalBytes) }),
  });
  let prefilled: PrefilledContext | undefined;
  try {
    const { runner } = lease;
    const { weightsSha256 } = runner.identity;
    const found = findProfiles(deps.profiles, { name: request.model, weightsSha256 }, plan.profiles);
    const inputs = inputsOf(plan, found.profile);
    checkRecall(plan, runner.config);
    const identity = checkIdentity(request, plan, found.digests, runner);
    const prompt = readContext(runner, request.content);
    const sealed = await deps.keys.sealer(request.tenant, { signal: call.signal });
    clock.enter("prefill");
    const { contextId, digest } = request;
    const { store, checkpointTokens: minTokens } = deps;
    const checkpoints =
      minTokens === undefined || sealed !== undefined
        ? undefined
        : new StoreCheckpoints({ store, contextId, digest, minTokens, signal: call.signal });
    const tokens = { "kvault.tokens": prompt.prefixIds.length + prompt.contextIds.length };
    const context = await inSpan("prefill", { attributes: tokens }, () =>
      prefillFor(inputs, deps.loop, runner, prompt, watch("prefill", call), checkpoints),
    );
    prefilled = context;
    clock.enter("score");
    const { source, queries } = await inSpan("score", {}, () =>
      gatherScoreSource(inputs, deps.loop, runner, context, watch("score", call)),
    );
    const selection = withWindows(runner.config, selectPairs(plan, source));
    const result = await withWriter(deps.store, request.contextId, async (writer) => {
      const put: PutPart = (bytes, place) =>
        writer.putPart(sealed === undefined ? bytes : sealed(bytes, { contextId: request.contextId, ...place }), {
          signal: call.signal,
        });
      const refitted = await refitOf(plan, runner, queries);
      const layers = await inSpan("compress", { attributes: { "kvault.layers": selection.numLayers } }, () =>
        putLayers(put, context, selection, plan.codec, refitted, runner.config, clock, call),
      );
      throwIfAborted(call.signal);
      const seconds = secondsOf(clock, call.queuedSeconds);
      const encryption = sealed === undefined ? {} : ({ encryption: ENCRYPTION } as const);
      const resumedTokens = checkpoints?.restoredTokens ?? 0;
      const manifest = { ...manifestOf(request, identity, plan, runner, prompt, layers, seconds, resumedTokens), ...encryption };
      await call.beforeCommit();
      return inSpan("commit manifest", {}, () => writer.commit(manifest, { signal: call.signal }));
    });
    await checkpoints?.clear();
    return result;
  } finally {
    prefilled?.release();
    lease.release();
  }
}

/** A committed record of the same digest: what is left to do when a builder died after its commit. */
async function findCommitted(store: BlobStore, request: BuildRequest, signal: AbortSignal): Promise<ContextManifest | undefined> {
  try {
    const manifest = await readManifest(store, request.contextId, { signal });
    return manifest.digest === request.digest ? manifest : undefined;
  } catch (error) {
    // A damaged manifest is replaced by the commit.
    if (isKvaultError(error, "CONTEXT_NOT_FOUND", "CACHE_CORRUPT")) return undefined;
    throw error;
  }
}

function checkIdentity(request: BuildRequest, plan: CompressionPlan, profiles: string, runner: ModelRunner): ContextIdentity {
  const salted = saltedContent(contentSha256(request.content), request.tenantSalt);
  if (salted.contentSha256 !== request.contentSha256) {
    const found = salted.contentSha256;
    throw invalidArgument("content_sha256", `Cannot build context: content hashes to "${found}"`, { found });
  }
  const { weightsSha256, tokenizerSha256, templateSha256, rope } = runner.identity;
  const identity: ContextIdentity = {
    weightsSha256,
    tokenizerSha256,
    templateSha256,
    rope,
    ...salted,
    spec: plan.spec,
    ...(profiles === "" ? {} : { profiles }),
    formatVersion: RECORD_FORMAT_VERSION,
  };
  const digest = contextDigest(identity);
  if (digest !== request.digest) {
    throw new KvaultError(
      "INCOMPATIBLE_MODEL",
      `Cannot build context "${request.contextId}": digest is "${digest}" with model "${request.model}" here, expected "${request.digest}"`,
      { details: { contextId: request.contextId, field: "digest", expected: request.digest, found: digest } },
    );
  }
  if (request.contextId !== contextIdOf(digest)) {
    throw invalidArgument("context_id", `Cannot build context "${request.contextId}": its digest names "${contextIdOf(digest)}"`);
  }
  return identity;
}

/** Windows and recalled rows do not go together: a window's mask is over rows in their order. */
function checkRecall({ codec, codecSpec }: CompressionPlan, { architecture, slidingWindow }: ModelConfig): void {
  if (!codec.recalls || slidingWindow === undefined) return;
  throw new KvaultError(
    "SPEC_INVALID",
    `Cannot build context with codec "${codecSpec}": models of family "${architecture}" have windowed layers, use another codec`,
    { details: { codec: codecSpec, architecture } },
  );
}

/** Seals a part where parts are sealed, and stores it. */
type PutPart = (bytes: Uint8Array, place: Omit<PartPlace, "contextId">) => Promise<PartRef>;

/** Encodes and puts layer after layer; the parts of one travel while the next is encoded. */
async function putLayers(
  put: PutPart,
  context: PrefilledContext,
  selection: Selection,
  codec: Codec,
  refitted: RefitLayer,
  config: ModelConfig,
  clock: BuildClock,
  { signal, onProgress }: BuildCall,
): Promise<LayerManifest[]> {
  const total = selection.numLayers;
  const layers: LayerManifest[] = [];
  let travelling: Promise<LayerManifest> | undefined;
  // Parts that later layers read too: the same bytes again, so the same blob.
  const shared = new Map<number, readonly Uint8Array[]>();
  const arrive = async (): Promise<void> => {
    if (travelling === undefined) return;
    clock.enter("publish");
    layers.push(await travelling);
    onProgress({ phase: "publish", done: layers.length, total });
  };
  const encode = async (layer: number): Promise<Uint8Array[]> => {
    const dense = context.layer(layer);
    const kept = await refitted(layer, dense, keepRows(selection, layer, dense));
    return encodeLayer(codec, { ...kept, ropeFrequencies: ropeFrequencies(config, layer) });
  };
  for (let layer = 0; layer < total; layer++) {
    clock.enter("compress");
    await yieldToEventLoop();
    throwIfAborted(signal);
    const source = sourceLayer(selection, layer);
    const parts = shared.get(source) ?? (await encode(layer));
    if (selection.source_L?.includes(layer, layer + 1)) shared.set(layer, parts);
    const { offset } = layerRows(selection, layer);
    const headLengths = Array.from({ length: selection.numKvHeads }, (_, k) => offset[k + 1] - offset[k]);
    onProgress({ phase: "compress", done: layer + 1, total });
    await arrive();
    travelling = putParts(put, layer, parts, headLengths, windowOf(config, layer));
    // Awaited a layer later; a failure before that must not count as unhandled.
    travelling.catch(() => undefined);
  }
  await arrive();
  return layers;
}

/** The kept pairs of a layer, changed by the plan's refit where it has one. */
type RefitLayer = (layer: number, dense: DenseLayerKv, kept: EncodableLayer) => Promise<EncodableLayer>;

async function refitOf(
  plan: CompressionPlan,
  runner: ModelRunner,
  queries: readonly Float32Array[] | undefined,
): Promise<RefitLayer> {
  const { refit } = plan;
  if (refit === undefined || queries === undefined) return async (_layer, _dense, kept) => kept;
  const matMul = await runner.matMul();
  return async (layer, dense, kept) =>
    queries[layer].length === 0 ? kept : refitRows(refit, dense, kept, queries[layer], matMul);
}

async function putParts(
  put: PutPart,
  layer: number,
  parts: readonly Uint8Array[],
  headLengths: readonly number[],
  windowTokens: number | undefined,
): Promise<LayerManifest> {
  const refs = await Promise.all(parts.map((bytes, part) => put(bytes, { layer, part })));
  return { parts: refs, headLengths, ...(windowTokens === undefined ? {} : { windowTokens }) };
}

/** Runs `work` with a writer that leaves nothing behind unless it committed. */
async function withWriter<T>(store: BlobStore, contextId: string, work: (writer: RecordWriter) => Promise<T>): Promise<T> {
  const writer = openRecordWriter(store, contextId);
  try {
    return await work(writer);
  } catch (error) {
    // The build's own failure is what counts; what could not be removed is for the sweep.
    await writer.abandon().catch(() => undefined);
    throw error;
  }
}

function manifestOf(
  request: BuildRequest,
  identity: ContextIdentity,
  plan: CompressionPlan,
  runner: ModelRunner,
  prompt: ContextPrompt,
  layers: readonly LayerManifest[],
  seconds: BuildSeconds,
  resumedTokens: number,
): ContextManifest {
  const { numLayers, numKvHeads, headDim } = runner.config;
  return createManifest({
    identity,
    model: { name: request.model, numLayers, numKvHeads, headDim },
    prefixTokens: prompt.prefixIds.length,
    contextTokens: prompt.contextIds.length,
    codec: plan.codecSpec,
    layers,
    report: {
      keepRatio: plan.keepRatio,
      queryAgnostic: plan.queryAgnostic,
      seconds,
      ...(resumedTokens === 0 ? {} : { resumedTokens }),
    },
    displayName: request.displayName,
    labels: request.labels,
    tenant: request.tenant,
    createTimeMs: request.createTimeMs,
    expireTimeMs: request.expireTimeMs,
  });
}

function secondsOf(clock: BuildClock, queue: number): BuildSeconds {
  const [load, prefill, score, compress, publish] = (["load", "prefill", "score", "compress", "publish"] as const).map((phase) =>
    clock.seconds(phase),
  );
  return { queue, load, prefill, score, compress, publish };
}

function watch(phase: BuildPhase, { signal, onProgress }: BuildCall): Pick<RunOptions, "signal" | "onProgress"> {
  let sinceMs = Date.now();
  return {
    signal,
    onProgress: (done, total) => {
      const nowMs = Date.now();
      pastSpan(`${phase} chunk`, sinceMs, nowMs, { "kvault.done": done, "kvault.total": total });
      sinceMs = nowMs;
      onProgress({ phase, done, total });
    },
  };
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 1_048_576);
}
