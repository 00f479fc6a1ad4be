/** A question on a context: the answer as it comes, and what it took. @module */
import { api } from "../api.ts";
import { drawGaps } from "../charts.ts";
import * as format from "../format.ts";
import type { Chunk, Context } from "../messages.ts";
import { problem } from "../problem.ts";
import { html, nothing, render, type TemplateResult } from "../vendor/lit-html.js";
import type { View } from "../view.ts";

interface Asked {
  answer: string;
  running: boolean;
  failure: unknown;
  end: Chunk | undefined;
  tokens: number;
  /** Milliseconds after the question, of every piece. */
  readonly arrivedMs: number[];
}

export function askPart({ root, signal, announce, handled }: View, context: Context): void {
  let asked: Asked | undefined;
  let stopped = new AbortController();
  const chart = document.createElement("div");
  chart.className = "chart";

  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const form = new FormData(event.target as HTMLFormElement);
    stopped = new AbortController();
    const mine: Asked = { answer: "", running: true, failure: undefined, end: undefined, tokens: 0, arrivedMs: [] };
    asked = mine;
    show();
    const question = {
      context,
      question: String(form.get("question")),
      maxTokens: Number(form.get("max_tokens")),
      temperature: Number(form.get("temperature")),
    };
    const startMs = performance.now();
    try {
      for await (const chunk of api.ask<Chunk>(question, AbortSignal.any([signal, stopped.signal]))) {
        const piece = chunk.choices[0]?.delta.content ?? "";
        if (piece !== "") mine.arrivedMs.push(performance.now() - startMs);
        mine.answer += piece;
        if (chunk.kvault !== undefined) mine.end = chunk;
        if (chunk.usage) mine.tokens = chunk.usage.completion_tokens;
        show();
      }
      announce("The answer is complete");
    } catch (error) {
      if (!stopped.signal.aborted) {
        if (handled(error)) return;
        mine.failure = error;
      }
    }
    mine.running = false;
    show();
    if (mine.arrivedMs.length > 2) drawGaps(chart, mine.arrivedMs, signal);
  };

  const show = (): void =>
    void render(
      html`<section aria-labelledby="ask-heading">
        <h2 id="ask-heading">Ask</h2>
        <form @submit=${submit}>
          <label>Question <textarea name="question" rows="2" required maxlength="20000"></textarea></label>
          <div class="row">
            <label>Longest answer, tokens <input name="max_tokens" type="number" min="1" max="4096" value="200" required></label>
            <label>Temperature (0: always the likeliest) <input name="temperature" type="number" min="0" max="2" step="0.1" value="0" required></label>
          </div>
          <p class="actions">
            <button class="main" type="submit" ?disabled=${asked?.running === true}>Ask</button>
            ${asked?.running === true ? html`<button type="button" @click=${() => stopped.abort()}>Stop</button>` : nothing}
          </p>
        </form>
        ${asked === undefined ? nothing : outcome(asked)}
        ${asked !== undefined && !asked.running && asked.arrivedMs.length > 2 ? chart : nothing}
      </section>`,
      root,
    );

  show();
}

function outcome({ answer, running, failure, end, tokens }: Asked): TemplateResult {
  return html`${problem(failure)}
    <div class="answer" id="answer" role="region" aria-label="Answer" aria-live="polite" aria-busy=${running}>${answer}</div>
    ${end?.kvault === undefined ? nothing : timings(end.kvault, tokens)}`;
}

function timings(
  { timings: { ttft_ms: ttftMs, tpot_ms: tpotMs, total_ms: totalMs }, cache }: NonNullable<Chunk["kvault"]>,
  tokens: number,
): TemplateResult {
  const fact = (name: string, value: string): TemplateResult => html`<div><dt>${name}</dt><dd>${value}</dd></div>`;
  return html`<dl class="facts" id="timings">
    ${fact("First token after", format.duration(ttftMs))}
    ${fact("Then", tpotMs > 0 ? `${(1000 / tpotMs).toFixed(1)} tokens/s` : "–")}
    ${fact("Tokens", format.count(tokens))}
    ${fact("In all", format.duration(totalMs))}
    ${fact("Context came from", `${cache.tier} (${cache.reason.toLowerCase().replaceAll("_", " ")})`)}
  </dl>`;
}
