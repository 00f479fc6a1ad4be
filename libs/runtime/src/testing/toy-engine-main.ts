/**
 * Entry of an engine process that runs toy models and is real in everything else.
 *
 * @module
 */
import { openStore } from "@kvault/kvstore";
import { createEngineCore } from "../engine/core.ts";
import { processChannel } from "../engine/process-channel.ts";
import { serveEngine } from "../engine/serve.ts";
import { openToyModel } from "./toy-models.ts";
import { makeToyResident } from "./toy-runner.ts";

serveEngine(processChannel(), async ({ storeUrl, residentBytes, lostContextIds }) =>
  createEngineCore({
    store: await openStore(storeUrl),
    openModel: openToyModel,
    makeResident: makeToyResident,
    residentBytes,
    lostContextIds,
  }),
);
