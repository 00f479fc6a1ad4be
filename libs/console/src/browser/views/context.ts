/** One context: its build as it goes on, what it is, what was kept of it, questions. @module */
import { ApiError, api, idOf } from "../api.ts";
import * as format from "../format.ts";
import type { Context } from "../messages.ts";
import { problem } from "../problem.ts";
import { html, nothing, render, type TemplateResult } from "../vendor/lit-html.js";
import { pause, type View } from "../view.ts";
import { askPart } from "./ask.ts";
import { buildProgress, phaseName, stateName } from "./context-parts.ts";
import { keptPart } from "./kept.ts";

/** Before a watch that was cut is opened again. */
const RETRY_MS = 2_000;

export async function contextView(view: View): Promise<void> {
  const { root, signal, announce, handled } = view;
  const id = view.params[0] ?? "";
  let context: Context | undefined;
  let failure: unknown;
  let phase = "";
  const kept = document.createElement("div");
  const ask = document.createElement("div");
  let isActive = false;

  const act = async (how: () => Promise<unknown>): Promise<void> => {
    try {
      await how();
      failure = undefined;
      context = await api.context(id, signal);
      announce(`The context is ${context.state === "STATE_DELETED" ? "deleted" : "back"}`);
    } catch (error) {
      if (handled(error)) return;
      if (error instanceof ApiError && error.code === "CONTEXT_NOT_FOUND") location.hash = "#/contexts";
      failure = error;
    }
    show();
  };

  const show = (): void => {
    if (context?.state === "STATE_ACTIVE" && !isActive) {
      isActive = true;
      askPart({ ...view, root: ask }, context);
      void keptPart({ ...view, root: kept }, context);
    }
    const title = context === undefined ? id : context.display_name || idOf(context);
    render(
      html`<h1>${title}</h1>
        ${problem(failure)}
        ${context === undefined ? html`<p>Loading…</p>` : facts(context, { remove: () => act(() => api.remove(id, signal)), undelete: () => act(() => api.undelete(id, signal)) })}
        ${context?.state === "STATE_ACTIVE" ? html`${ask}${kept}` : nothing}`,
      root,
    );
  };

  show();
  while (!signal.aborted) {
    try {
      for await (const change of api.changes(id, signal)) {
        if (change.context === undefined) continue;
        context = change.context;
        failure = undefined;
        // Once for each phase: those who listen are not told every number.
        if (context.progress !== undefined && context.progress.phase !== phase) announce(phaseName(context.progress));
        phase = context.progress?.phase ?? "";
        if (context.state === "STATE_ACTIVE") announce("The context is active");
        show();
      }
      return;
    } catch (error) {
      if (handled(error)) return;
      failure = error;
      show();
      if (!(error instanceof ApiError) || error.code !== "UNREACHABLE") return;
      await pause(RETRY_MS, signal);
    }
  }
}

interface Actions {
  remove(): Promise<void>;
  undelete(): Promise<void>;
}

function facts(context: Context, { remove, undelete }: Actions): TemplateResult {
  const { report, error, progress, expire_time: expireTime, purge_time: purgeTime } = context;
  const fact = (name: string, value: unknown): TemplateResult => html`<div><dt>${name}</dt><dd>${value}</dd></div>`;
  const seconds = Object.entries(report?.seconds ?? {}).reduce((sum, [, each]) => sum + each, 0);
  return html`<section aria-label="About this context">
    ${progress === undefined ? nothing : buildProgress(progress)}
    ${error === undefined ? nothing : problem(new ApiError(error.details?.find(({ reason }) => reason)?.reason ?? "CONTEXT_FAILED", error.message ?? "Its build failed"))}
    <dl class="facts">
      ${fact("State", stateName(context))}
      ${fact("Model", context.model)}
      ${report === undefined ? nothing : fact("Tokens", format.count(report.context_tokens ?? 0))}
      ${report === undefined ? nothing : fact("Pairs kept", `${format.count(Number(report.kept_pairs ?? 0))} of ${format.count(Number(report.total_pairs ?? 0))} (${format.percent(report.kept_ratio ?? 0)})`)}
      ${report === undefined ? nothing : fact("Stored", `${format.bytes(Number(report.stored_bytes ?? 0))} instead of ${format.bytes(Number(report.raw_bytes_f16 ?? 0))}`)}
      ${report === undefined ? nothing : fact("Built in", format.duration(seconds * 1000))}
      ${fact("Expires", context.pinned ? "pinned" : expireTime === undefined ? "never" : format.fromNow(expireTime, Date.now()))}
      ${purgeTime === undefined ? nothing : fact("Can be undeleted until", new Date(purgeTime).toLocaleString())}
      ${fact("Method", html`<code>${context.spec ?? ""}</code>`)}
      ${fact("Name", html`<code>${context.name}</code>`)}
    </dl>
    <p class="actions">
      ${
        context.state === "STATE_DELETED"
          ? html`<button type="button" @click=${undelete}>Undelete</button>`
          : html`<button type="button" @click=${remove}>Delete</button>`
      }
    </p>
  </section>`;
}
