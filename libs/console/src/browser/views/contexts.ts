/** The list of contexts, kept up to date. @module */
import { api, idOf } from "../api.ts";
import * as format from "../format.ts";
import type { Context } from "../messages.ts";
import { problem } from "../problem.ts";
import { html, nothing, render, type TemplateResult } from "../vendor/lit-html.js";
import { poll, type View } from "../view.ts";
import { buildProgress, stateName } from "./context-parts.ts";

const POLL_MS = 2_000;

export async function contextsView({ root, signal, announce, handled }: View): Promise<void> {
  let listed: readonly Context[] | undefined;
  let more = false;
  let failure: unknown;

  const act = async (what: string, { name, display_name: title }: Context, how: () => Promise<unknown>): Promise<void> => {
    try {
      await how();
      failure = undefined;
      announce(`${what} ${title || name}`);
    } catch (error) {
      if (handled(error)) return;
      failure = error;
    }
    await look();
  };

  const row = (context: Context): TemplateResult => {
    const { report, expire_time: expireTime, purge_time: purgeTime } = context;
    const id = idOf(context);
    const title = context.display_name || id;
    const isDeleted = context.state === "STATE_DELETED";
    const button = isDeleted
      ? html`<button type="button" aria-label=${`Undelete ${title}`} @click=${() => act("Undeleted", context, () => api.undelete(id, signal))}>Undelete</button>`
      : html`<button type="button" aria-label=${`Delete ${title}`} @click=${() => act("Deleted", context, () => api.remove(id, signal))}>Delete</button>`;
    return html`<tr>
      <th scope="row"><a href=${`#/context/${id}`}>${title}</a></th>
      <td>${stateName(context)}${context.progress === undefined ? nothing : buildProgress(context.progress)}</td>
      <td>${context.model}</td>
      <td class="number">${report === undefined ? "" : format.count(report.context_tokens ?? 0)}</td>
      <td class="number">${report === undefined ? "" : format.percent(report.kept_ratio ?? 0)}</td>
      <td class="number">${report === undefined ? "" : format.bytes(Number(report.stored_bytes ?? 0))}</td>
      <td class="number">${report === undefined ? "" : format.bytes(Number(report.raw_bytes_f16 ?? 0))}</td>
      <td>${
        isDeleted && purgeTime !== undefined
          ? `gone ${format.fromNow(purgeTime, Date.now())}`
          : context.pinned
            ? "pinned"
            : expireTime === undefined
              ? "never"
              : format.fromNow(expireTime, Date.now())
      }</td>
      <td>${button}</td>
    </tr>`;
  };

  const show = (): void =>
    void render(
      html`<h1>Contexts</h1>
        ${problem(failure)}
        <p class="actions"><a href="#/create">New context</a></p>
        <section>
          ${
            listed === undefined
              ? html`<p>Loading…</p>`
              : listed.length === 0
                ? html`<p>No contexts yet. <a href="#/create">Create the first one</a>.</p>`
                : html`<div class="wide" tabindex="0" role="region" aria-label="Contexts">
                    <table>
                      <caption>${format.count(listed.length)} contexts${more ? ", the first ones of more" : ""}</caption>
                      <thead><tr>
                        <th scope="col">Context</th><th scope="col">State</th><th scope="col">Model</th>
                        <th scope="col" class="number">Tokens</th><th scope="col" class="number">Kept</th>
                        <th scope="col" class="number">Stored</th><th scope="col" class="number">Full size</th>
                        <th scope="col">Expires</th><td></td>
                      </tr></thead>
                      <tbody>${listed.map(row)}</tbody>
                    </table>
                  </div>`
          }
        </section>`,
      root,
    );

  const look = async (): Promise<void> => {
    try {
      ({ contexts: listed, more } = await api.contexts(signal));
    } catch (error) {
      if (handled(error)) return;
      failure = error;
    }
    if (!signal.aborted) show();
  };

  show();
  await poll(POLL_MS, signal, look);
}
