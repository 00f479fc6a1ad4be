/**
 * Requests to build a context with a catalogue model, as a gateway would make them.
 *
 * @module
 */
import { findProfiles, openProfiles, type ProfileStore, resolveSpec } from "@kvault/compression";
import { contentSha256, contextDigest, contextIdOf, RECORD_FORMAT_VERSION } from "@kvault/kvstore";
import type { ModelIdentity } from "@kvault/model";
import type { BuildRequest } from "../engine/types.ts";

/** A complete and right request to build `text` with `model`, whose identity is `identity`. */
export function buildRequest(
  model: string,
  identity: ModelIdentity,
  text: string,
  spec: string,
  profiles: ProfileStore = openProfiles(),
): BuildRequest {
  const content = { text };
  const { weightsSha256, tokenizerSha256, templateSha256, rope } = identity;
  const plan = resolveSpec(spec);
  const { digests } = findProfiles(profiles, { name: model, weightsSha256 }, plan.profiles);
  const full = {
    weightsSha256,
    tokenizerSha256,
    templateSha256,
    rope,
    contentSha256: contentSha256(content),
    spec: plan.spec,
    ...(digests === "" ? {} : { profiles: digests }),
    formatVersion: RECORD_FORMAT_VERSION,
    tenantSalt: "",
  };
  const digest = contextDigest(full);
  return {
    contextId: contextIdOf(digest),
    digest,
    tenant: "default",
    tenantSalt: "",
    model,
    content,
    contentSha256: full.contentSha256,
    spec: full.spec,
    displayName: "a test",
    labels: {},
    createTimeMs: 1_700_000_000_000,
    expireTimeMs: 0,
  };
}
