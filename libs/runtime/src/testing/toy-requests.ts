/**
 * Requests for toy models, complete and right; tests change what they are about.
 *
 * @module
 */
import { resolveSpec } from "@kvault/compression";
import { contentSha256, contextDigest, contextIdOf, RECORD_FORMAT_VERSION } from "@kvault/kvstore";
import type { BuildRequest, LoadRequest, QueryRequest } from "../engine/types.ts";
import { GREEDY } from "../sampling/sampler.ts";
import { TOY_IDENTITY } from "./toy-runner.ts";

/** A request to build `text`; `none` keeps every pair. */
export function toyBuild(text: string, spec = "none", model = "toy"): BuildRequest {
  const content = { text };
  const identity = {
    ...TOY_IDENTITY,
    contentSha256: contentSha256(content),
    spec: resolveSpec(spec).spec,
    formatVersion: RECORD_FORMAT_VERSION,
    tenantSalt: "",
  };
  const digest = contextDigest(identity);
  return {
    contextId: contextIdOf(digest),
    digest,
    model,
    content,
    contentSha256: identity.contentSha256,
    spec: identity.spec,
    displayName: "a toy",
    labels: {},
    createTimeMs: 1_700_000_000_000,
    expireTimeMs: 0,
  };
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
