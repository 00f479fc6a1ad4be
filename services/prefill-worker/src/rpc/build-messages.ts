/**
 * Build messages ⇄ what the engine takes and gives.
 *
 * @module
 */
import type { ContextManifest } from "@kvault/kvstore";
import {
  type CompressionReportSchema,
  type MessageInitShape,
  Progress_Phase,
  type ProgressSchema,
  type BuildRequest as RpcBuildRequest,
} from "@kvault/rpc";
import type { BuildPhase, BuildProgress, BuildRequest } from "@kvault/runtime";
import { readContent } from "@kvault/worker";

const PHASES: Readonly<Record<BuildPhase, Progress_Phase>> = {
  loading: Progress_Phase.LOADING,
  prefill: Progress_Phase.PREFILL,
  score: Progress_Phase.SCORE,
  compress: Progress_Phase.COMPRESS,
  publish: Progress_Phase.PUBLISH,
};

/** INVALID_ARGUMENT naming the field that is missing. */
export function readBuildRequest(request: RpcBuildRequest): BuildRequest {
  const { contextId, digest, tenant, tenantSalt, model, contentSha256, spec, displayName, labels } = request;
  return {
    contextId,
    digest,
    tenant,
    tenantSalt,
    model,
    content: readContent(request.content, "content", "build context"),
    contentSha256,
    spec,
    displayName,
    labels,
    createTimeMs: Number(request.createTimeMs),
    expireTimeMs: Number(request.expireTimeMs),
  };
}

export function progressMessage({ phase, done, total }: BuildProgress): MessageInitShape<typeof ProgressSchema> {
  return { phase: PHASES[phase], done, total };
}

export function reportMessage(manifest: ContextManifest): MessageInitShape<typeof CompressionReportSchema> {
  const { report, contextTokens, prefixTokens, layers } = manifest;
  return {
    spec: report.spec,
    contextTokens,
    prefixTokens,
    keepRatio: report.keepRatio,
    keptRatio: report.keptRatio,
    keptPairs: BigInt(report.keptPairs),
    totalPairs: BigInt(report.totalPairs),
    rawBytesF16: BigInt(report.rawBytesF16),
    storedBytes: BigInt(report.storedBytes),
    queryAgnostic: report.queryAgnostic,
    resumedTokens: report.resumedTokens ?? 0,
    seconds: report.seconds,
    layers: layers.map(({ headLengths, parts }) => ({
      keptPerHead: [...headLengths],
      storedBytes: BigInt(parts.reduce((sum, { bytes }) => sum + bytes, 0)),
    })),
  };
}
