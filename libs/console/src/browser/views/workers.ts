/** The workers behind the gateway, how busy they are, and how busy they were since the page was opened. @module */
import { api } from "../api.ts";
import { LoadChart } from "../charts.ts";
import * as format from "../format.ts";
import type { Worker } from "../messages.ts";
import { problem } from "../problem.ts";
import { html, render, type TemplateResult } from "../vendor/lit-html.js";
import { poll, type View } from "../view.ts";

const POLL_MS = 2_000;

export async function workersView({ root, signal, handled }: View): Promise<void> {
  let workers: readonly Worker[] | undefined;
  let failure: unknown;
  const place = document.createElement("div");
  place.className = "chart";
  const chart = new LoadChart(place, signal);

  const show = (): void =>
    void render(
      html`<h1>Workers</h1>
        ${problem(failure)}
        <section>${workers === undefined ? html`<p>Loading…</p>` : table(workers)}</section>
        <section aria-labelledby="load-heading">
          <h2 id="load-heading">Load since this page was opened</h2>
          ${place}
        </section>`,
      root,
    );

  show();
  await poll(POLL_MS, signal, async () => {
    try {
      workers = await api.workers(signal);
      failure = undefined;
    } catch (error) {
      if (handled(error)) return;
      failure = error;
    }
    if (signal.aborted) return;
    show();
    const sum = (of: (worker: Worker) => number): number => (workers ?? []).reduce((total, worker) => total + of(worker), 0);
    chart.add(
      sum(({ running_queries: queries }) => queries),
      sum(({ running_builds: builds }) => builds),
    );
  });
}

function table(workers: readonly Worker[]): TemplateResult {
  return html`<div class="wide" tabindex="0" role="region" aria-label="Workers">
    <table>
      <caption>${workers.length} workers, as of their last beat</caption>
      <thead><tr>
        <th scope="col">Worker</th><th scope="col">Role</th><th scope="col">State</th>
        <th scope="col" class="number">Queries</th><th scope="col" class="number">Builds</th>
        <th scope="col" class="number">Resident</th><th scope="col" class="number">Your contexts there</th>
        <th scope="col">Models open</th><th scope="col" class="number">Engine restarts</th>
      </tr></thead>
      <tbody>${workers.map(
        (worker) => html`<tr>
          <th scope="row"><code>${worker.address}</code></th>
          <td>${worker.role.replace("ROLE_", "").toLowerCase()}</td>
          <td>${worker.live ? (worker.draining ? "draining" : "live") : "silent"}</td>
          <td class="number">${worker.running_queries}</td>
          <td class="number">${worker.running_builds}</td>
          <td class="number">${format.bytes(Number(worker.resident_bytes))}</td>
          <td class="number">${worker.resident_contexts.length}</td>
          <td>${worker.models.join(", ")}</td>
          <td class="number">${worker.engine_restarts}</td>
        </tr>`,
      )}</tbody>
    </table>
  </div>`;
}
