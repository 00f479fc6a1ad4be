/**
 * Requests for toy models, complete and right; tests change what they are about.
 *
 * @module
 */
import type { BuildRequest, LoadRequest, QueryRequest } from "../engine/types.ts";
import { GREEDY } from "../sampling/sampler.ts";
import { buildRequest } from "./build-request.ts";
import { TOY_IDENTITY } from "./toy-runner.ts";

/** A request to build `text`; `none` keeps every pair. */
export function toyBuild(text: string, spec = "none", model = "toy"): BuildRequest {
  return buildRequest(model, TOY_IDENTITY, text, spec);
}

/** The request to load what `build` made. */
export function toyLoad({ contextId, digest, model }: BuildRequest): LoadRequest {
  return { contextId, digest, model };
}

/** A greedy question on what `build` made. */
export function toyQuery(
  { contextId, digest, model }: BuildRequest,
  question: string,
  changes: Partial<QueryRequest> = {},
): QueryRequest {
  return {
    source: { type: "stored", contextId, digest },
    model,
    question,
    sampling: GREEDY,
    maxTokens: 200,
    stop: [],
    ...changes,
  };
}
