/**
 * Contexts.ListContexts: oldest first, ties by id. A context created while paging comes on a later
 * page; one that was there all along comes exactly once.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import { Context_State, type ListContextsRequest, type ListContextsResponseSchema, type MessageInitShape } from "@kvault/rpc";
import { z } from "zod";
import type { ContextState } from "../catalogue/context-catalogue.ts";
import { contextMessage } from "../catalogue/context-message.ts";
import { isExpired } from "../catalogue/find-context.ts";
import type { GatewayDeps } from "../deps.ts";
import { readPageSize, readPageToken, writePageToken } from "../validation/page.ts";

const position = z.strictObject({ createTimeMs: z.int().min(0), id: z.string() });

const STATES: ReadonlyMap<Context_State, ContextState["type"]> = new Map([
  [Context_State.CREATING, "creating"],
  [Context_State.ACTIVE, "active"],
  [Context_State.FAILED, "failed"],
  [Context_State.DELETING, "deleting"],
  [Context_State.DELETED, "deleted"],
]);

export const listContexts =
  ({ catalogue }: GatewayDeps) =>
  async ({
    pageSize,
    pageToken,
    states,
    labels,
  }: ListContextsRequest): Promise<MessageInitShape<typeof ListContextsResponseSchema>> => {
    const limit = readPageSize(pageSize);
    const after = readPageToken(pageToken, position);
    const records = await catalogue.list({
      limit: limit + 1,
      ...(after === undefined ? {} : { after }),
      ...readStates(states),
      labels,
    });
    const page = records.slice(0, limit);
    const last = page.at(-1);
    const nextPageToken =
      records.length > limit && last !== undefined ? writePageToken({ createTimeMs: last.createTimeMs, id: last.id }) : "";
    const nowMs = Date.now();
    return { contexts: page.filter((record) => !isExpired(record, nowMs)).map(contextMessage), nextPageToken };
  };

function readStates(given: readonly Context_State[]): { readonly states?: ReadonlySet<ContextState["type"]> } {
  if (given.length === 0) return {};
  const states = given.map((state) => {
    const known = STATES.get(state);
    if (known === undefined) throw invalidArgument("states", `Cannot list contexts in state ${state}: unknown`);
    return known;
  });
  return { states: new Set(states) };
}
