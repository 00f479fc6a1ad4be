/**
 * The longest every field of a public request may be. Texts of contexts have a limit of their own
 * here (one message) and another by the model's reach (content.ts).
 *
 * @module
 */
import { MANIFEST_LIMITS } from "@kvault/kvstore";
import type { FieldLimits } from "@kvault/rpc";

/** Longest text in one message; longer ones are uploaded in pieces. */
const MAX_TEXT_BYTES = 4 * 2 ** 20;
const NAME = { maxChars: 256 } as const;
const PAGE_TOKEN = { maxChars: 512 } as const;
const ETAG = { maxChars: 64 } as const;
const LABELS = {
  maxItems: MANIFEST_LIMITS.labels,
  maxKeyChars: MANIFEST_LIMITS.labelKeyChars,
  maxChars: MANIFEST_LIMITS.labelValueChars,
} as const;
const QUESTION = { maxBytes: 64 * 1024 } as const;

export const FIELD_LIMITS: FieldLimits = {
  "kvault.v1.ChatMessage.content": { maxBytes: MAX_TEXT_BYTES },
  "kvault.v1.ChatMessages.messages": { maxItems: 1_000 },
  "kvault.v1.ContextContent.text": { maxBytes: MAX_TEXT_BYTES },
  "kvault.v1.Compression.spec": { maxChars: MANIFEST_LIMITS.specChars },
  "kvault.v1.Limits.stop": { maxItems: 16, maxChars: 256 },

  "kvault.v1.CreateContextRequest.model": NAME,
  "kvault.v1.CreateContextRequest.display_name": { maxChars: MANIFEST_LIMITS.nameChars },
  "kvault.v1.CreateContextRequest.labels": LABELS,
  "kvault.v1.CreateContextRequest.request_id": { maxChars: 128 },
  "kvault.v1.UploadContextRequest.text": { maxBytes: MAX_TEXT_BYTES },
  "kvault.v1.GetContextRequest.name": NAME,
  "kvault.v1.DeleteContextRequest.name": NAME,
  "kvault.v1.DeleteContextRequest.etag": ETAG,
  "kvault.v1.UndeleteContextRequest.name": NAME,
  "kvault.v1.WarmContextRequest.name": NAME,
  "kvault.v1.InspectContextRequest.name": NAME,
  "kvault.v1.WatchContextRequest.name": NAME,
  "kvault.v1.ListContextsRequest.page_token": PAGE_TOKEN,
  "kvault.v1.ListContextsRequest.states": { maxItems: 16 },
  "kvault.v1.ListContextsRequest.labels": LABELS,

  "google.protobuf.FieldMask.paths": { maxItems: 16, maxChars: 64 },
  "kvault.v1.Context.name": NAME,
  "kvault.v1.Context.display_name": { maxChars: MANIFEST_LIMITS.nameChars },
  "kvault.v1.Context.labels": LABELS,
  "kvault.v1.Context.etag": ETAG,
  // What a client read it sends back with the rest; nobody looks at it.
  "kvault.v1.Context.model": NAME,
  "kvault.v1.Context.spec": { maxChars: MANIFEST_LIMITS.specChars },
  "kvault.v1.Context.digest": NAME,
  "kvault.v1.CompressionReport.spec": { maxChars: MANIFEST_LIMITS.specChars },
  "kvault.v1.CompressionReport.layers": { maxItems: MANIFEST_LIMITS.layers },
  "kvault.v1.LayerReport.kept_per_head": { maxItems: MANIFEST_LIMITS.heads },
  "google.rpc.Status.message": { maxChars: 4_096 },
  "google.rpc.Status.details": { maxItems: 16 },
  "google.protobuf.Any.type_url": NAME,
  "google.protobuf.Any.value": { maxBytes: 65_536 },

  "kvault.v1.QueryRequest.context": NAME,
  "kvault.v1.QueryRequest.question": QUESTION,
  "kvault.v1.QueryRequest.turns": { maxItems: 256 },
  "kvault.v1.InlineContext.model": NAME,
  "kvault.v1.Recompute.model": NAME,
  "kvault.v1.QueryBatchRequest.context": NAME,
  "kvault.v1.QueryBatchRequest.questions": { maxItems: 64 },
  "kvault.v1.BatchQuestion.question": QUESTION,

  "kvault.v1.CountTokensRequest.model": NAME,
  "kvault.v1.CountTokensRequest.question": QUESTION,
  "kvault.v1.ExplainRequestRequest.request_id": NAME,

  "kvault.v1.ListModelsRequest.page_token": PAGE_TOKEN,
  "kvault.v1.GetModelRequest.name": NAME,

  "google.longrunning.GetOperationRequest.name": NAME,
  "google.longrunning.WaitOperationRequest.name": NAME,
  "google.longrunning.CancelOperationRequest.name": NAME,
};
