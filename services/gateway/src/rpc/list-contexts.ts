/**
 * Contexts.ListContexts: oldest first, ties by id. A context created while paging comes on a later
 * page; one that was there all along comes exactly once.
 *
 * @module
 */
import type { ListContextsRequest, ListContextsResponseSchema, MessageInitShape } from "@kvault/rpc";
import { z } from "zod";
import { contextMessage } from "../catalogue/context-message.ts";
import { isExpired } from "../catalogue/find-context.ts";
import type { GatewayDeps } from "../deps.ts";
import { readPageSize, readPageToken, writePageToken } from "../validation/page.ts";

const position = z.strictObject({ createTimeMs: z.int().min(0), id: z.string() });

export const listContexts =
  ({ catalogue }: GatewayDeps) =>
  async ({ pageSize, pageToken }: ListContextsRequest): Promise<MessageInitShape<typeof ListContextsResponseSchema>> => {
    const limit = readPageSize(pageSize);
    const after = readPageToken(pageToken, position);
    const records = await catalogue.list({ limit: limit + 1, ...(after === undefined ? {} : { after }) });
    const page = records.slice(0, limit);
    const last = page.at(-1);
    const nextPageToken =
      records.length > limit && last !== undefined ? writePageToken({ createTimeMs: last.createTimeMs, id: last.id }) : "";
    const nowMs = Date.now();
    return { contexts: page.filter((record) => !isExpired(record, nowMs)).map(contextMessage), nextPageToken };
  };
