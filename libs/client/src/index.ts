/**
 * A typed client of KVault.
 *
 * @module
 */
export { type ErrorCode, type ErrorDetails, isKvaultError, KvaultError } from "@kvault/core";
export { type CallOptions, type ClientTls, retryAfterMs, type TlsFiles } from "@kvault/rpc";
export type { Answer, AnswerPiece, CacheInfo, FinishReason, Timings, Usage } from "./answer.ts";
export type { CallSettings } from "./call-settings.ts";
export { type ClientOptions, type KvaultClient, type Model, openClient, type TokenCount } from "./client.ts";
export {
  type BuildPhase,
  type BuildProgress,
  type BuildSeconds,
  type CompressionReport,
  type Context,
  type ContextState,
  contextName,
  contextOf,
} from "./context.ts";
export type { ContextChanges, Contexts, CreateSettings, ListSettings, WaitSettings, WarmReplica } from "./contexts.ts";
export type { Conversation } from "./conversation.ts";
export { type FieldViolation, fieldViolations } from "./errors.ts";
export { type FolderSettings, type FolderText, headed, readFolder } from "./folder.ts";
export type { Api } from "./gateways.ts";
export type { AnswerStream } from "./query.ts";
export type { ManyEvent, ManySettings } from "./query-many.ts";
export type { AnswerSettings, QuestionSettings, QuestionTarget } from "./question.ts";
export { DEFAULT_RETRY, type RetryPolicy } from "./retry.ts";
export type { ChatMessage, Content, TextSource } from "./text-source.ts";
