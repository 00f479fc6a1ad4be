/**
 * Entry of an engine process; started by the supervisor's client and by nobody else.
 *
 * @module
 */
import { openProfiles } from "@kvault/compression";
import { instrumentedStore, openKeyRing, openStore, type StoreCall } from "@kvault/kvstore";
import { type ModelHub, openHub } from "@kvault/model";
import { isTracing, pastSpan, startTelemetry } from "@kvault/telemetry";
import type { ModelRunner } from "../model-runner.ts";
import { openModelRunner } from "../onnx-model-runner.ts";
import { residentContext } from "../resident-context.ts";
import { createEngineCore } from "./core.ts";
import { processChannel } from "./process-channel.ts";
import { type OpenCoreOptions, serveEngine } from "./serve.ts";
import type { OpenModelOptions } from "./types.ts";

serveEngine(processChannel(), async (options) => {
  const { cacheDir, offline, storeUrl, residentBytes, maxModels, checkpointTokens, lostContextIds } = options;
  // Its own, since spans made here cannot wait for a supervisor; metrics are told by that one.
  const env = { ...process.env, OTEL_METRICS_EXPORTER: "none" };
  const telemetry = await startTelemetry({ service: `kvault-${options.role ?? "embedded"}-engine`, env });
  const hub = await openHub({ cacheDir, offline });
  const opened = await openStore(storeUrl);
  const store = isTracing() ? instrumentedStore(opened, tellStoreCall) : opened;
  const core = createEngineCore({
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
  return { ...core, close: () => core.close().finally(() => telemetry.close()) };
});

/** A span for each call that belongs to a trace. Keys are ids and digests. */
function tellStoreCall({ operation, key, seconds, bytes, outcome }: StoreCall): void {
  const endMs = Date.now();
  pastSpan(`store ${operation}`, endMs - seconds * 1_000, endMs, {
    "kvault.store.key": key,
    "kvault.store.bytes": bytes,
    "kvault.store.outcome": outcome,
  });
}

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
