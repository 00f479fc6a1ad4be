/**
 * The observers by name: adding one is a file and a line here.
 *
 * @module
 */
import type { Observer } from "./observer.ts";
import { queries } from "./queries.ts";
import { queryMoments } from "./query-moments.ts";
import { repeatAttention } from "./repeat-attention.ts";
import { surrogateScore } from "./surrogate-score.ts";
import { windowAttention } from "./window-attention.ts";

export type ObserverName = "queries" | "queryMoments" | "repeatAttention" | "surrogateScore" | "windowAttention";

export const OBSERVERS: Readonly<Record<ObserverName, Observer>> = {
  queries,
  queryMoments,
  repeatAttention,
  surrogateScore,
  windowAttention,
};
