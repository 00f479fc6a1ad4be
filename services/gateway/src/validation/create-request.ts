/**
 * CreateContextRequest → everything a build needs, identity included.
 *
 * All of it is checked here, before anything is stored or queued, except what only a tokenizer can
 * tell: the exact number of tokens is the worker's TOKEN_LIMIT.
 *
 * @module
 */
import { defaultMethod, findProfiles, type ProfileStore, resolveSpec } from "@kvault/compression";
import { invalidArgument } from "@kvault/core";
import {
  type ContextContent,
  contentSha256,
  contextDigest,
  contextIdOf,
  MANIFEST_LIMITS,
  RECORD_FORMAT_VERSION,
  saltedContent,
} from "@kvault/kvstore";
import type { CatalogueEntry, ModelHub } from "@kvault/model";
import { type CreateContextRequest, type Duration, durationMs } from "@kvault/rpc";
import type { BuildJob } from "../builds/build-job.ts";
import type { Owner } from "../deps.ts";
import { readContent } from "./content.ts";

/** Shortest lifetime: a context should outlive its own build. */
const MIN_TTL_MS = 60_000;
/** Longest: ten years. */
export const MAX_TTL_MS: number = 10 * 365 * 24 * 3_600_000;

export interface CreateDeps {
  readonly models: Pick<ModelHub, "describe">;
  readonly profiles: ProfileStore;
  /** Preset or spec of requests that name none; when absent it depends on the model. */
  readonly defaultSpec?: string;
  readonly owner: Owner;
}

/** The catalogue's entry of `name`, with or without "models/". */
export function findModel(models: Pick<ModelHub, "describe">, name: string): CatalogueEntry {
  if (name === "") throw invalidArgument("model", "Cannot choose a model: none named");
  return models.describe(name.replace(/^models\//, ""));
}

/** Checks a request with its content inside. */
export function readCreateRequest(request: CreateContextRequest, deps: CreateDeps): Omit<BuildJob, "buildId"> {
  const model = findModel(deps.models, request.model);
  return planBuild(request, readContent(request.content, model.config.maxTokens), deps);
}

/** Checks everything but the content, which is `content`, and computes the context's identity. */
export function planBuild(request: CreateContextRequest, content: ContextContent, deps: CreateDeps): Omit<BuildJob, "buildId"> {
  const model = findModel(deps.models, request.model);
  const { weightsSha256 } = model.identity;
  const profiled = { name: model.name, weightsSha256 };
  const method = request.compression?.spec || deps.defaultSpec || defaultMethod(deps.profiles, profiled);
  const { spec, profiles: needed } = resolveSpec(method, request.compression?.keepRatio);
  const { digests } = findProfiles(deps.profiles, profiled, needed);
  checkNames(request);
  const ttlMs = readTtlMs(request.ttl);
  if (request.refreshOnUse && ttlMs === 0) {
    throw invalidArgument("refresh_on_use", "Cannot refresh the expiry on use: no ttl given");
  }
  const createTimeMs = Date.now();
  const salted = saltedContent(contentSha256(content), deps.owner.salt);
  const profiles = digests === "" ? {} : { profiles: digests };
  const digest = contextDigest({ ...model.identity, ...salted, spec, ...profiles, formatVersion: RECORD_FORMAT_VERSION });
  return {
    contextId: contextIdOf(digest),
    tenant: deps.owner.tenant,
    digest,
    model: model.name,
    content,
    contentSha256: salted.contentSha256,
    spec,
    displayName: request.displayName,
    labels: request.labels,
    createTimeMs,
    expireTimeMs: ttlMs === 0 ? 0 : createTimeMs + ttlMs,
  };
}

/** 0: none. INVALID_ARGUMENT for one that is too short or too long. */
export function readTtlMs(ttl: Duration | undefined): number {
  if (ttl === undefined) return 0;
  const ttlMs = durationMs(ttl);
  if (!(ttlMs >= MIN_TTL_MS && ttlMs <= MAX_TTL_MS)) {
    const bounds = `at least ${MIN_TTL_MS / 1000} s and at most ${MAX_TTL_MS / 1000} s`;
    throw invalidArgument("ttl", `Cannot keep a context for ${ttlMs / 1000} s: must be ${bounds}`);
  }
  return Math.round(ttlMs);
}

/** INVALID_ARGUMENT naming what is too long, or too many. */
export function checkNames({ displayName, labels }: Pick<CreateContextRequest, "displayName" | "labels">): void {
  const { nameChars, labels: maxLabels, labelKeyChars, labelValueChars } = MANIFEST_LIMITS;
  if (displayName.length > nameChars) {
    throw invalidArgument("display_name", `Cannot use a display name of ${displayName.length} characters: at most ${nameChars}`);
  }
  const entries = Object.entries(labels);
  if (entries.length > maxLabels) throw invalidArgument("labels", `Cannot keep ${entries.length} labels: at most ${maxLabels}`);
  for (const [key, value] of entries) {
    if (key === "" || key.length > labelKeyChars) {
      throw invalidArgument(
        "labels",
        `Cannot keep label "${key.slice(0, labelKeyChars)}": its key has ${key.length} characters, must be 1 to ${labelKeyChars}`,
      );
    }
    if (value.length > labelValueChars) {
      throw invalidArgument(
        "labels",
        `Cannot keep label "${key}": its value has ${value.length} characters, at most ${labelValueChars}`,
      );
    }
  }
}
