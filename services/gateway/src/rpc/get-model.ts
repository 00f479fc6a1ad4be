/** Models.GetModel. @module */
import type { GetModelRequest, MessageInitShape, ModelSchema } from "@kvault/rpc";
import type { GatewayDeps } from "../deps.ts";
import { findModel } from "../validation/create-request.ts";
import { modelMessage } from "./model-message.ts";

export const getModel =
  ({ models }: GatewayDeps) =>
  async ({ name }: GetModelRequest): Promise<MessageInitShape<typeof ModelSchema>> => {
    const entry = findModel(models, name);
    return modelMessage(entry, await models.isPresent(entry.name));
  };
