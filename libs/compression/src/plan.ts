/**
 * From text to a plan: preset or spec, keep ratio applied, the four parts constructed.
 *
 * @module
 */
import { invalidArgument, isKvaultError, KvaultError } from "@kvault/core";
import { PRESETS } from "./presets.ts";
import { ALLOCATORS, CODECS, REFITS, SCORERS, SELECTORS } from "./registry.ts";
import { type CompressionSpec, didYouMean, type PartSpec, parsePart, parseSpec, printPart, printSpec } from "./spec.ts";
import type { Allocator, Codec, ProfileName, Refit, RepeatPass, Scorer, ScorerNeed, Selector } from "./types.ts";

/** A compression method ready to run. */
export interface CompressionPlan {
  /** Canonical text, every parameter and the keep ratio included: part of a context's identity. */
  readonly spec: string;
  /** Canonical text of the codec alone, for manifests. */
  readonly codecSpec: string;
  /** Fraction of ranked pairs kept, in (0, 1]; at most that where a part lets the scores decide. */
  readonly keepRatio: number;
  /** False where every pair is kept. */
  readonly evicts: boolean;
  /** What must be gathered before scoring; empty where nothing is scored. */
  readonly needs: ReadonlySet<ScorerNeed>;
  /** Present exactly when `needs` has `repeat-attention`. */
  readonly repeatPass?: RepeatPass;
  /** Measurements of the model that must be at hand. */
  readonly profiles: ReadonlySet<ProfileName>;
  /** True when no query is looked at. */
  readonly queryAgnostic: boolean;
  /** True where heads of one layer may keep different counts. */
  readonly ragged: boolean;
  readonly scorer: Scorer;
  readonly allocator: Allocator;
  readonly selector: Selector;
  /** Absent where values are stored as they are, also where nothing is evicted. */
  readonly refit?: Refit;
  readonly codec: Codec;
}

/**
 * Preset name or spec → plan; `keepRatio` overrides what the text says. Throws SPEC_INVALID,
 * METHOD_NOT_FOUND, or INVALID_ARGUMENT with field `keep_ratio`.
 */
export function resolveSpec(text: string, keepRatio?: number): CompressionPlan {
  const spec = readMethod(text);
  if (keepRatio === undefined) return createPlan(spec);
  if (!(keepRatio > 0 && keepRatio <= 1)) {
    throw invalidArgument("keep_ratio", `Cannot keep a fraction of ${keepRatio}: must be above 0 and at most 1`, {
      found: String(keepRatio),
    });
  }
  const params = { ...spec.selector.params, keep: keepRatio };
  return createPlan({ ...spec, selector: { ...spec.selector, params } });
}

/** A scorer alone, from its own text (`kvzip(chunk=256)`), a preset or a whole spec; `spec` is its canonical text. */
export function scorerFromSpec(text: string): { readonly scorer: Scorer; readonly spec: string } {
  const name = text.trim();
  const part = !name.includes("|") && !PRESETS.has(name) ? parsePart(name, "scorer") : readMethod(name).scorer;
  return { scorer: SCORERS.get(part.name)!.create(part.params), spec: printPart(part) };
}

/** The codec a manifest names. Throws INCOMPATIBLE_FORMAT for what this build cannot read. */
export function codecFromSpec(text: string): Codec {
  try {
    const part = parsePart(text, "codec");
    // A manifest spells every parameter: one that another version did not know is another layout.
    if (printPart(part) !== text) throw unreadable(text);
    return CODECS.get(part.name)!.create(part.params);
  } catch (cause) {
    if (!isKvaultError(cause, "SPEC_INVALID", "METHOD_NOT_FOUND")) throw cause;
    throw unreadable(text, cause);
  }
}

function unreadable(text: string, cause?: unknown): KvaultError {
  const known = [...CODECS.values()].map(({ name, params }) =>
    printPart({ name, params: params.parse({}) as PartSpec["params"] }),
  );
  return new KvaultError(
    "INCOMPATIBLE_FORMAT",
    `Cannot decode parts: found codec "${text}", known are such as ${known.join(", ")}`,
    {
      details: { field: "codec", found: text },
      cause,
    },
  );
}

function readMethod(text: string): CompressionSpec {
  const name = text.trim();
  if (name.includes("|")) return parseSpec(name);
  const preset = PRESETS.get(name);
  if (preset !== undefined) return parseSpec(preset.spec);
  if (!/^[\w-]+$/.test(name) || SCORERS.has(name)) return parseSpec(name);
  const known = [...PRESETS.keys()];
  throw new KvaultError(
    "METHOD_NOT_FOUND",
    `Cannot find preset "${name}"${didYouMean(name, known)}: known are ${known.join(", ")}, or a spec scorer|allocator|selector|codec`,
    { details: { name } },
  );
}

function createPlan(spec: CompressionSpec): CompressionPlan {
  const scorer = SCORERS.get(spec.scorer.name)!.create(spec.scorer.params);
  const selector = SELECTORS.get(spec.selector.name)!.create(spec.selector.params);
  const allocator = ALLOCATORS.get(spec.allocator.name)!.create(spec.allocator.params);
  const { keepRatio } = selector;
  const evicts = keepRatio < 1 || selector.chooseTotal !== undefined || allocator.chooseTotal !== undefined;
  if (evicts && scorer.unranked) {
    throw new KvaultError(
      "SPEC_INVALID",
      `Cannot keep a fraction of ${keepRatio}: scorer "${spec.scorer.name}" ranks nothing, use keep=1 or another scorer`,
      { details: { scorer: spec.scorer.name, keepRatio } },
    );
  }
  const codec = CODECS.get(spec.codec.name)!.create(spec.codec.params);
  // Scores are made for the selection, or for a codec that spends its bits by them.
  const isScored = evicts || (codec.needs?.has("scores") ?? false);
  const refit = spec.refit === undefined ? undefined : REFITS.get(spec.refit.name)!.create(spec.refit.params);
  if (refit !== undefined && refit.queries !== "own" && scorer.repeatPass === undefined) {
    throw new KvaultError(
      "SPEC_INVALID",
      `Cannot refit to ${refit.queries} queries: scorer "${spec.scorer.name}" makes no repeat pass, use queries=own or another scorer`,
      { details: { scorer: spec.scorer.name, queries: refit.queries } },
    );
  }
  return {
    spec: printSpec(spec),
    codecSpec: printPart(spec.codec),
    keepRatio,
    evicts,
    needs: isScored ? scorer.needs : new Set(),
    ...(isScored && scorer.repeatPass !== undefined ? { repeatPass: scorer.repeatPass } : {}),
    profiles: profilesOf(isScored ? scorer : undefined, isScored || allocator.sourceLayers !== undefined ? allocator : undefined),
    queryAgnostic: scorer.queryAgnostic,
    ragged: evicts && !allocator.levelsHeads && !selector.sharesLayer,
    scorer,
    allocator,
    selector,
    ...(evicts && refit !== undefined ? { refit } : {}),
    codec,
  };
}

/** What the parts say, and the map behind a predicted score. */
function profilesOf(scorer: Scorer | undefined, allocator: Allocator | undefined): ReadonlySet<ProfileName> {
  const predicted = scorer?.needs.has("surrogate") ? ("surrogate" as const) : undefined;
  return new Set([predicted, scorer?.profile, allocator?.profile].filter((name) => name !== undefined));
}
