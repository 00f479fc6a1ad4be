/**
 * Every part and preset as data, for `kvault methods` and the generated documentation.
 *
 * @module
 */
import { z } from "zod";
import { resolveSpec } from "./plan.ts";
import { PRESETS, type Preset } from "./presets.ts";
import { openProfiles, type ProfileStore } from "./profiles/profile-store.ts";
import { ALLOCATORS, CODECS, REFITS, SCORERS, SELECTORS } from "./registry.ts";
import { parseSpec, type SpecValue } from "./spec.ts";
import type { PartFactory, ProfileName, ScorerNeed } from "./types.ts";

export interface ParamDescription {
  readonly name: string;
  readonly summary: string;
  readonly default: SpecValue;
  /** Accepted words of a choice. */
  readonly values?: readonly string[];
}

export interface PartDescription {
  readonly name: string;
  readonly summary: string;
  readonly source: string;
  readonly params: readonly ParamDescription[];
}

export interface MethodsDescription {
  readonly scorers: readonly PartDescription[];
  readonly allocators: readonly PartDescription[];
  readonly selectors: readonly PartDescription[];
  /** Stage between selector and codec that a spec may leave out. */
  readonly refits: readonly PartDescription[];
  readonly codecs: readonly PartDescription[];
  /** `spec` is the full text, every default filled in. */
  readonly presets: readonly PresetDescription[];
}

/** A preset, and what its parts make of it. */
export interface PresetDescription extends Omit<Preset, "source"> {
  /** Where the composition is from. */
  readonly paper: string;
  /** Names of its parts. */
  readonly scorer: string;
  readonly allocator: string;
  readonly selector: string;
  readonly refit?: string;
  readonly codec: string;
  /** True when no query is looked at. */
  readonly queryAgnostic: boolean;
  /** True where heads of one layer may keep different counts. */
  readonly ragged: boolean;
  /** What prefill must gather for the scorer. */
  readonly needs: readonly ScorerNeed[];
  /** Measurements of the model that must have been made. */
  readonly needsProfile: readonly ProfileName[];
  /** Models that have all of them; empty where nothing is needed. */
  readonly profiledFor: readonly string[];
}

/** Everything a spec can name, in registry order; `profiles` are those that came with KVault unless given. */
export function describeMethods(profiles: Pick<ProfileStore, "modelsWith"> = openProfiles()): MethodsDescription {
  return {
    scorers: [...SCORERS.values()].map(describePart),
    allocators: [...ALLOCATORS.values()].map(describePart),
    selectors: [...SELECTORS.values()].map(describePart),
    refits: [...REFITS.values()].map(describePart),
    codecs: [...CODECS.values()].map(describePart),
    presets: [...PRESETS.values()].map((preset) => describePreset(preset, profiles)),
  };
}

function describePreset({ source, ...preset }: Preset, store: Pick<ProfileStore, "modelsWith">): PresetDescription {
  const { spec, queryAgnostic, ragged, needs, profiles } = resolveSpec(preset.spec);
  const having = [...profiles].map((name) => store.modelsWith(name));
  const profiledFor = (having[0] ?? []).filter((model) => having.every((models) => models.includes(model)));
  const { scorer, allocator, selector, refit, codec } = parseSpec(spec);
  return {
    ...preset,
    paper: source,
    ...{ spec, scorer: scorer.name, allocator: allocator.name, selector: selector.name },
    ...(refit === undefined ? {} : { refit: refit.name }),
    ...{ codec: codec.name, queryAgnostic, ragged, needs: [...needs], needsProfile: [...profiles], profiledFor },
  };
}

function describePart({ name, summary, source, params }: PartFactory<unknown>): PartDescription {
  const { properties = {} } = z.toJSONSchema(params);
  return { name, summary, source, params: Object.entries(properties).map(([param, schema]) => describeParam(param, schema)) };
}

function describeParam(name: string, schema: z.core.JSONSchema._JSONSchema): ParamDescription {
  const { description = "", default: fallback, enum: values } = typeof schema === "boolean" ? {} : schema;
  return {
    name,
    summary: description,
    default: fallback as SpecValue,
    ...(values === undefined ? {} : { values: values.map(String) }),
  };
}
