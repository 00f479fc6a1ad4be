/** Parts of a context that several pages show. @module */
import * as format from "../format.ts";
import type { Context, Progress } from "../messages.ts";
import { html, nothing, type TemplateResult } from "../vendor/lit-html.js";

const STATE_NAMES: Readonly<Record<string, string>> = {
  STATE_CREATING: "building",
  STATE_ACTIVE: "active",
  STATE_FAILED: "failed",
  STATE_DELETING: "being deleted",
  STATE_DELETED: "deleted",
};

export function stateName({ state }: Context): TemplateResult {
  const name = STATE_NAMES[state] ?? state;
  return html`<span class=${`state-${name}`}>${name}</span>`;
}

const PHASE_NAMES: Readonly<Record<string, string>> = {
  PHASE_QUEUED: "Waiting for a worker",
  PHASE_LOADING: "Opening the model",
  PHASE_PREFILL: "Reading the text",
  PHASE_SCORE: "Scoring every pair",
  PHASE_COMPRESS: "Compressing",
  PHASE_PUBLISH: "Publishing",
};

export function phaseName({ phase = "" }: Progress): string {
  return PHASE_NAMES[phase] ?? "Starting";
}

/** A bar for the phase under way, and its numbers. */
export function buildProgress(progress: Progress): TemplateResult {
  const { done = 0, total = 0, restarts = 0 } = progress;
  const name = phaseName(progress);
  return html`<div class="build">
    <progress aria-label=${name} max=${total || 1} .value=${total === 0 ? 0 : done}></progress>
    <div class="quiet">${name}${total === 0 ? nothing : html`: ${format.count(done)} of ${format.count(total)}`}${
      restarts === 0 ? nothing : html`, started over ${restarts} times`
    }</div>
  </div>`;
}
