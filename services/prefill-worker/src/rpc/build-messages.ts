/**
 * Build messages ⇄ what the engine takes and gives.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import type { ContextManifest } from "@kvault/kvstore";
import type { ChatMessage } from "@kvault/model";
import {
  ChatMessage_Role,
  type CompressionReportSchema,
  type ContextContent,
  type MessageInitShape,
  Progress_Phase,
  type ProgressSchema,
  type BuildRequest as RpcBuildRequest,
} from "@kvault/rpc";
import type { BuildPhase, BuildProgress, BuildRequest, Content } from "@kvault/runtime";

const ROLES: Readonly<Record<ChatMessage_Role, ChatMessage["role"] | undefined>> = {
  [ChatMessage_Role.UNSPECIFIED]: undefined,
  [ChatMessage_Role.SYSTEM]: "system",
  [ChatMessage_Role.USER]: "user",
  [ChatMessage_Role.ASSISTANT]: "assistant",
};

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
    content: readContent(request.content),
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

function readContent(content: ContextContent | undefined): Content {
  const given = content?.content;
  switch (given?.case) {
    case "text":
      return { text: given.value };
    case "chat":
      return { messages: given.value.messages.map(({ role, content: said }) => ({ role: readRole(role), content: said })) };
    default:
      throw invalidArgument("content", "Cannot build context: no content given");
  }
}

function readRole(role: ChatMessage_Role): ChatMessage["role"] {
  const known = ROLES[role];
  if (known === undefined) throw invalidArgument("content.chat.messages.role", `Cannot build context: found role ${role}`);
  return known;
}
