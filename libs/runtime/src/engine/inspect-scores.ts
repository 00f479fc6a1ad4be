/**
 * Scores of given token ids, written to a file: what parity tests and people who study a
 * method look at. Nothing is evicted or stored.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import { rename, rm, writeFile } from "node:fs/promises";
import { findProfiles, type ProfileStore, type Scorer, scoreLayers, scorerFromSpec } from "@kvault/compression";
import { bytesOf, encodeSafetensors, invalidArgument, KvaultError, type NamedTensor } from "@kvault/core";
import type { RunLoop } from "../batching/run-loop.ts";
import type { ModelRunner } from "../model-runner.ts";
import type { BuildCall } from "./builds.ts";
import type { ModelCache } from "./models.ts";
import { type GatherInputs, gatherScoreSource, prefillFor } from "./score-source.ts";
import type { InspectScoresRequest, InspectScoresResult } from "./types.ts";

/** Writes `scores` F32 [L, K, S] and `last_logits` F32 [V] to `outPath`. */
export async function inspectScores(
  { models, loop, profiles }: { readonly models: ModelCache; readonly loop: RunLoop; readonly profiles: ProfileStore },
  request: InspectScoresRequest,
  { signal, onProgress }: Pick<BuildCall, "signal" | "onProgress">,
): Promise<InspectScoresResult> {
  const { scorer, spec } = scorerFromSpec(request.method);
  const lease = await models.acquire(request.model, { signal });
  try {
    const { runner } = lease;
    checkIds(request, runner);
    const { ids, prefixTokens } = request;
    const prompt = { prefixIds: ids.slice(0, prefixTokens), contextIds: ids.slice(prefixTokens) };
    const watch = (phase: "prefill" | "score") => ({
      signal,
      onProgress: (done: number, total: number) => onProgress({ phase, done, total }),
    });
    const inputs = profiledInputs(request.model, scorer, runner, profiles);
    const context = await prefillFor(inputs, loop, runner, prompt, watch("prefill"));
    try {
      const { source } = await gatherScoreSource(inputs, loop, runner, context, watch("score"));
      const { numLayers, numKvHeads, seqLen, score_LKS } = scoreLayers({ scorer }, source);
      await writeWhole(
        request.outPath,
        encodeSafetensors(
          new Map<string, NamedTensor>([
            ["scores", { dtype: "F32", shape: [numLayers, numKvHeads, seqLen], data: bytesOf(score_LKS) }],
            ["last_logits", { dtype: "F32", shape: [context.lastLogits_V.length], data: bytesOf(context.lastLogits_V) }],
          ]),
          { spec, model: request.model },
        ),
      );
      return { spec, numLayers, numKvHeads, seqLen };
    } finally {
      context.release();
    }
  } finally {
    lease.release();
  }
}

/** What `scorer` needs, its measurements of the model included. */
function profiledInputs(model: string, scorer: Scorer, { identity }: ModelRunner, profiles: ProfileStore): GatherInputs {
  const names = [scorer.needs.has("surrogate") ? ("surrogate" as const) : undefined, scorer.profile];
  const needed = names.filter((name) => name !== undefined);
  const { profile: measured } = findProfiles(profiles, { name: model, weightsSha256: identity.weightsSha256 }, needed);
  const { needs, repeatPass, windowTokens, momentsFrom } = scorer;
  return {
    ...{ needs, measured },
    ...(repeatPass === undefined ? {} : { repeatPass }),
    ...(windowTokens === undefined ? {} : { windowTokens }),
    ...(momentsFrom === undefined ? {} : { momentsFrom }),
  };
}

function checkIds({ ids, prefixTokens }: InspectScoresRequest, { config }: ModelRunner): void {
  if (!Number.isSafeInteger(prefixTokens) || prefixTokens < 0 || prefixTokens >= ids.length) {
    throw invalidArgument("prefix_tokens", `Cannot score ${ids.length} ids with a prefix of ${prefixTokens}`);
  }
  if (ids.length > config.maxTokens) {
    throw new KvaultError("TOKEN_LIMIT", `Cannot score ${ids.length} ids: the model holds ${config.maxTokens}`, {
      details: { field: "ids", tokens: ids.length, maxTokens: config.maxTokens },
    });
  }
  for (const [i, id] of ids.entries()) {
    if (id < 0 || id >= config.vocabSize) {
      throw invalidArgument("ids", `Cannot score id ${id} at ${i}: the vocabulary has ${config.vocabSize}`, {
        index: i,
        found: id,
      });
    }
  }
}

/** All or nothing: a reader never sees half a file. */
async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  const partial = `${path}.${randomUUID()}.part`;
  try {
    await writeFile(partial, bytes, { flag: "wx" });
    await rename(partial, path);
  } catch (cause) {
    await rm(partial, { force: true });
    throw invalidArgument("out", `Cannot write "${path}": ${(cause as Error).message}`, { found: path });
  }
}
