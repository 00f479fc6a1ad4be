/**
 * The observers by name: adding one is a file and a line here.
 *
 * @module
 */
import { normalEquations } from "./normal-equations.ts";
import type { Observer } from "./observer.ts";
import { queries } from "./queries.ts";
import { queryMoments } from "./query-moments.ts";
import { repeatAttention } from "./repeat-attention.ts";
import { repeatContribution } from "./repeat-contribution.ts";
import { surrogateScore } from "./surrogate-score.ts";
import { windowAttention } from "./window-attention.ts";

export type ObserverName =
  | "normalEquations"
  | "queries"
  | "queryMoments"
  | "repeatAttention"
  | "repeatContribution"
  | "surrogateScore"
  | "windowAttention";

export const OBSERVERS: Readonly<Record<ObserverName, Observer>> = {
  normalEquations,
  queries,
  queryMoments,
  repeatAttention,
  repeatContribution,
  surrogateScore,
  windowAttention,
};
