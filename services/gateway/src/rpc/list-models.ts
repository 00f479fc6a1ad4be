/** Models.ListModels: the catalogue, by name. @module */
import type { ListModelsRequest, ListModelsResponseSchema, MessageInitShape } from "@kvault/rpc";
import { z } from "zod";
import type { GatewayDeps } from "../deps.ts";
import { readPageSize, readPageToken, writePageToken } from "../validation/page.ts";
import { modelMessage } from "./model-message.ts";

const position = z.strictObject({ after: z.string() });

export const listModels =
  ({ models }: GatewayDeps) =>
  async ({ pageSize, pageToken }: ListModelsRequest): Promise<MessageInitShape<typeof ListModelsResponseSchema>> => {
    const limit = readPageSize(pageSize);
    const after = readPageToken(pageToken, position)?.after ?? "";
    const rest = [...models.list()].sort((a, b) => (a.name < b.name ? -1 : 1)).filter(({ name }) => name > after);
    const page = rest.slice(0, limit);
    const last = page.at(-1);
    const messages = await Promise.all(page.map(async (entry) => modelMessage(entry, await models.isPresent(entry.name))));
    return {
      models: messages,
      nextPageToken: rest.length > limit && last !== undefined ? writePageToken({ after: last.name }) : "",
    };
  };
