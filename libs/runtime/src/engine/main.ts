/**
 * Entry of an engine process; started by the supervisor's client and by nobody else.
 *
 * @module
 */
import { openProfiles } from "@kvault/compression";
import { openKeyRing, openStore } from "@kvault/kvstore";
import { type ModelHub, openHub } from "@kvault/model";
import type { ModelRunner } from "../model-runner.ts";
import { openModelRunner } from "../onnx-model-runner.ts";
import { residentContext } from "../resident-context.ts";
import { createEngineCore } from "./core.ts";
import { processChannel } from "./process-channel.ts";
import { type OpenCoreOptions, serveEngine } from "./serve.ts";
import type { OpenModelOptions } from "./types.ts";

serveEngine(processChannel(), async (options) => {
  const { cacheDir, offline, storeUrl, residentBytes, maxModels, checkpointTokens, lostContextIds } = options;
  const hub = await openHub({ cacheDir, offline });
  const store = await openStore(storeUrl);
  return createEngineCore({
    store,
    keys: await openKeyRing(store, options.masterKeyFile),
    openModel: (model, openOptions) => openCatalogueModel(hub, model, options, openOptions),
    makeResident: residentContext,
    profiles: openProfiles(cacheDir),
    residentBytes,
    ...(maxModels === undefined ? {} : { maxModels }),
    ...(checkpointTokens === undefined ? {} : { checkpointTokens }),
    lostContextIds,
  });
});

async function openCatalogueModel(
  hub: ModelHub,
  model: string,
  { cacheDir, numThreads, activations, device }: OpenCoreOptions,
  { signal, onProgress }: OpenModelOptions,
): Promise<ModelRunner> {
  const { sha256, identity } = hub.describe(model);
  const modelPath = await hub.fetchModel(model, {
    ...(signal === undefined ? {} : { signal }),
    ...(onProgress === undefined ? {} : { onProgress: ({ doneBytes, totalBytes }) => onProgress({ doneBytes, totalBytes }) }),
  });
  return openModelRunner({
    modelPath,
    weightsSha256: sha256,
    cacheDir,
    numThreads,
    activations,
    ...(device === undefined ? {} : { device }),
    expectedIdentity: identity,
    ...(signal === undefined ? {} : { signal }),
  });
}
