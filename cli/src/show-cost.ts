/**
 * `kvault context create --dry-run`: whether a text fits its model, and what its context would cost.
 *
 * @module
 */
import type { Context, KvaultClient } from "@kvault/client";
import { resolveSpec } from "@kvault/compression";
import { KvaultError } from "@kvault/core";
import type { Call } from "./commands/command.ts";
import { type Cost, estimateCost } from "./estimate-cost.ts";
import { ReportedFailure } from "./terminal/failure.ts";
import { formatBytes, formatCount, formatSeconds } from "./terminal/units.ts";

/** Contexts that are looked at for their costs. */
const LOOKED_AT = 200;
/** Keep ratios do not differ between default methods: any one tells. */
const ANY_DEFAULT_METHOD = "kvzip";

export interface CostQuestion {
  /** Of the context that it would be. */
  readonly name: string;
  readonly text: string;
  readonly model: string;
  readonly method?: string;
  readonly keep?: number;
}

/** Ends with the failure that building it would be when it does not fit. */
export async function showCost(client: KvaultClient, { terminal, signal }: Call, question: CostQuestion): Promise<void> {
  const { name, text, model: modelName, method, keep } = question;
  const counted = await client.countTokens({ model: modelName, content: { text } }, { signal });
  const model = (await client.models({ signal })).find((each) => each.name === modelName.replace(/^models\//, ""));
  if (model === undefined) throw new KvaultError("MODEL_NOT_FOUND", `Cannot estimate: the server has no model "${modelName}"`);
  const known: Context[] = [];
  for await (const context of client.contexts.list({ signal, states: ["ACTIVE"], limit: LOOKED_AT })) known.push(context);
  const { contextTokens, prefixTokens, maxTokens } = counted;
  const plan = resolveSpec(method ?? ANY_DEFAULT_METHOD, keep);
  const chosen = method === undefined ? {} : { spec: plan.spec };
  const cost = estimateCost({ model, contextTokens, keepRatio: plan.keepRatio, known, ...chosen });
  const fits = prefixTokens + contextTokens < maxTokens;
  terminal.result(
    { name, model: model.name, contextTokens, prefixTokens, maxTokens, fits, keepRatio: plan.keepRatio, ...cost },
    () =>
      [
        `context   ${name}, not built`,
        `tokens    ${formatCount(contextTokens)}, and ${prefixTokens} of the template; ${model.name} reads ${formatCount(maxTokens)}`,
        `stored    about ${formatBytes(cost.storedBytes)}, keeping ${plan.keepRatio} of ${formatBytes(cost.rawBytesF16)}`,
        `takes     ${describeSeconds(cost)}`,
      ].join("\n"),
  );
  if (!fits)
    throw new ReportedFailure(
      `It does not fit: ${formatCount(contextTokens)} tokens, ${model.name} reads ${formatCount(maxTokens)}.`,
    );
}

function describeSeconds({ seconds, numContexts }: Cost): string {
  if (seconds === undefined) return "not known yet: this server has no context of the model";
  return `about ${formatSeconds(seconds)}, going by ${numContexts === 1 ? "one context" : `${numContexts} contexts`} of this server`;
}
