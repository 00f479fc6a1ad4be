/**
 * Contexts.InspectContext: a decode worker reads the record and counts. No text is stored, so one that
 * is to be shown comes with the request, and the worker checks it against the record's own identity.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import { contentSha256, saltedContent } from "@kvault/kvstore";
import type { InspectContextRequest, KeptPairs, ServerCall } from "@kvault/rpc";
import { onward } from "@kvault/rpc";
import { findActive } from "../catalogue/find-context.ts";
import type { GatewayDeps } from "../deps.ts";
import { readContent } from "../validation/content.ts";
import { findModel } from "../validation/create-request.ts";
import { contextIdFrom } from "../validation/names.ts";

const DEFAULT_BINS = 128;
/** More than a screen has columns for. */
const MAX_BINS = 1_024;

export const inspectContext =
  ({ catalogue, decode, models, owner }: GatewayDeps) =>
  async ({ name, maxBins, content, layer, kvHead }: InspectContextRequest, call: ServerCall): Promise<KeptPairs> => {
    const id = contextIdFrom(name, "name");
    if (maxBins > MAX_BINS) throw invalidArgument("max_bins", `Cannot count over ${maxBins} bins: at most ${MAX_BINS}`);
    const { digest, model } = await findActive(catalogue, id);
    const request = {
      ...{ contextId: id, digest, model, maxBins: maxBins || DEFAULT_BINS },
      ...(layer === undefined ? {} : { layer }),
      ...(kvHead === undefined ? {} : { kvHead }),
    };
    if (content === undefined) return decode.inspect(request, onward(call));
    const read = readContent(content, findModel(models, model).config.maxTokens);
    const { contentSha256: salted } = saltedContent(contentSha256(read), owner.salt);
    return decode.inspect({ ...request, content, contentSha256: salted }, onward(call));
  };
