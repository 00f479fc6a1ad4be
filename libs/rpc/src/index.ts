/**
 * gRPC: generated messages, typed servers and clients, status mapping, health, reflection.
 * The only package that imports gRPC.
 *
 * @module
 */
export { create, fromBinary, fromJson, type JsonValue, type MessageInitShape, toBinary, toJson } from "@bufbuild/protobuf";
export {
  anyPack,
  anyUnpack,
  type Duration,
  durationFromMs,
  durationMs,
  EmptySchema,
  timestampFromMs,
  timestampMs,
} from "@bufbuild/protobuf/wkt";
export * from "#gen/google/longrunning/operations_pb.js";
export { type Status as RpcStatus, StatusSchema as RpcStatusSchema } from "#gen/google/rpc/status_pb.js";
export * from "#gen/kvault/v1/cluster_pb.js";
export * from "#gen/kvault/v1/common_pb.js";
export * from "#gen/kvault/v1/contexts_pb.js";
export * from "#gen/kvault/v1/inference_pb.js";
export * from "#gen/kvault/v1/models_pb.js";
export * from "#gen/kvault/v1/worker_pb.js";
export { isLoopback } from "./address.ts";
export {
  type AccessFile,
  changeAccessFile,
  type Quotas,
  readAccessFile,
  type TokenEntry,
  withNewToken,
  withoutToken,
  withTenant,
} from "./auth/access-file.ts";
export { AccessRegistry } from "./auth/access-registry.ts";
export { bearerToken, type Refusal, type ServerAuthentication } from "./auth/authentication.ts";
export { ANONYMOUS, DEFAULT_TENANT, isTenantId, type Principal, ROLES, type Role } from "./auth/principal.ts";
export { openSecurity, type SecuritySettings, type ServerSecurity, securitySettings, tlsFiles } from "./auth/server-security.ts";
export { watchTokenFile } from "./auth/token-file.ts";
export type { WatchedFile } from "./auth/watched-file.ts";
export {
  type Interceptor,
  implement,
  onward,
  type ServerCall,
  type ServiceHandlers,
  type ServiceImplementation,
  UNIMPLEMENTED,
} from "./call.ts";
export type { CallOptions } from "./call-options.ts";
export { type Channel, type ChannelOptions, type ClientTls, openChannel } from "./channel.ts";
export { type Client, createClient } from "./client.ts";
export { type InProcessCaller, type InProcessClients, inProcessClients } from "./in-process.ts";
export {
  type FieldLimit,
  type FieldLimits,
  fieldLimits,
  fieldsWithoutLimit,
  handledMethods,
} from "./interceptors/field-limits.ts";
export { requestLog } from "./interceptors/request-log.ts";
export { INTERNAL_MESSAGE_BYTES, MAX_CONTENT_BYTES, MAX_MESSAGE_BYTES } from "./limits.ts";
export { REQUEST_ID_KEY, requestIdFrom, TRACE_KEY, traceparentFrom } from "./request-id.ts";
export type { RpcLogger } from "./rpc-logger.ts";
export { type CloseOptions, type RunningServer, type ServerOptions, type ServerTls, startServer } from "./server.ts";
export { fromRpcStatus, retryAfterMs, retryDelayMs, STATUS_DETAIL_TYPES, toRpcStatus } from "./status.ts";
export { type TlsContext, type TlsFiles, watchTlsContext } from "./tls.ts";
