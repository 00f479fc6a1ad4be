/** What was kept of a context: per layer and head, along the context, and over its words. @module */
import { api, idOf } from "../api.ts";
import { drawAlong } from "../charts.ts";
import * as format from "../format.ts";
import { LEGEND, step, stepColours } from "../heat.ts";
import { alongContext, binSize, type Chosen, pieceShare, rowShare, words } from "../kept.ts";
import type { Context, Kept, Piece } from "../messages.ts";
import { problem } from "../problem.ts";
import { rememberText, textOf } from "../session.ts";
import { html, nothing, render, type TemplateResult } from "../vendor/lit-html.js";
import type { View } from "../view.ts";

const BINS = 192;
/** Pieces of text on the page at once. */
const PAGE_PIECES = 4_000;
const SHOWN_WORDS = 12;

export async function keptPart({ root, signal, announce, handled }: View, context: Context): Promise<void> {
  let kept: Kept | undefined;
  let failure: unknown;
  let textFailure: unknown;
  let busy = false;
  let chosen: Chosen = { layer: undefined, kvHead: undefined };
  let page = 0;
  const map = document.createElement("canvas");
  map.className = "map";
  const line = document.createElement("div");
  let redrawn = new AbortController();

  const look = async (text: string | undefined): Promise<boolean> => {
    busy = true;
    textFailure = undefined;
    show();
    const { layer, kvHead } = chosen;
    const which = { ...(layer === undefined ? {} : { layer }), ...(kvHead === undefined ? {} : { kv_head: kvHead }) };
    try {
      const body = { max_bins: BINS, ...which, ...(text === undefined ? {} : { content: { text } }) };
      kept = await api.kept(idOf(context), body, signal);
      failure = undefined;
      return true;
    } catch (error) {
      if (handled(error)) return false;
      if (text === undefined) failure = error;
      else textFailure = error;
      return false;
    } finally {
      busy = false;
      if (!signal.aborted) {
        show();
        draw();
      }
    }
  };

  const choose = async (next: Chosen): Promise<void> => {
    chosen = next;
    await look(textOf(context.name));
    announce(`Showing ${nameOf(chosen)}`);
  };

  const draw = (): void => {
    if (kept === undefined) return;
    drawMap(map, kept);
    redrawn.abort();
    redrawn = new AbortController();
    const shares = alongContext(kept, chosen);
    const most = shares.indexOf(Math.max(...shares));
    const label = `Share of pairs kept along the context, ${nameOf(chosen)}; most, ${format.percent(shares[most] ?? 0)}, from token ${format.count(most * kept.bin_tokens)} on`;
    drawAlong(line, shares, kept.bin_tokens, label, AbortSignal.any([signal, redrawn.signal]));
  };

  const giveText = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const form = new FormData(event.target as HTMLFormElement);
    const file = form.get("file");
    const text = file instanceof File && file.size > 0 ? await file.text() : String(form.get("text") ?? "");
    if (await look(text)) rememberText(context.name, text);
  };

  const show = (): void =>
    void render(
      html`<section aria-labelledby="kept-heading" aria-busy=${busy}>
        <h2 id="kept-heading">What was kept</h2>
        ${problem(failure)}
        ${
          kept === undefined
            ? html`<p>${busy ? "Reading the record…" : nothing}</p>`
            : html`
          ${legend()}
          ${headTable(kept, chosen, choose)}
          ${choice(kept, chosen, choose)}
          <h3>Where in the context</h3>
          <p class="quiet">One line for each layer and head, layer 0 above, the beginning of the context on the left.</p>
          <div class="wide" tabindex="0" role="region" aria-label="Map of kept positions">${map}</div>
          ${line}
          <h3>Which words</h3>
          ${problem(textFailure)}
          ${
            kept.text.length === 0
              ? textForm(giveText)
              : textShown(kept, page, (to) => {
                  page = to;
                  show();
                })
          }`
        }
      </section>`,
      root,
    );

  line.className = "chart";
  addEventListener("kvault:theme", draw, { signal });
  show();
  (await look(textOf(context.name))) || (textOf(context.name) !== undefined && !signal.aborted && (await look(undefined)));
}

function nameOf({ layer, kvHead }: Chosen): string {
  const layers = layer === undefined ? "all layers" : `layer ${layer}`;
  return kvHead === undefined ? `${layers}, all heads` : `${layers}, head ${kvHead}`;
}

function legend(): TemplateResult {
  return html`<ul class="legend" aria-label="Colours: share of pairs kept">${LEGEND.map((text, i) => html`<li class=${`heat-${i}`}>${text}</li>`)}</ul>`;
}

function headTable(kept: Kept, chosen: Chosen, choose: (chosen: Chosen) => void): TemplateResult {
  const layers = [...new Set(kept.rows.map(({ layer }) => layer))];
  const heads = [...new Set(kept.rows.map(({ kv_head: head }) => head))];
  const cell = (layer: number, kvHead: number): TemplateResult => {
    const row = kept.rows[layer * heads.length + kvHead];
    const share = row === undefined ? 0 : rowShare(kept, row);
    const isAlone = chosen.layer === layer && chosen.kvHead === kvHead;
    const click = (): void => choose(isAlone ? { layer: undefined, kvHead: undefined } : { layer, kvHead });
    return html`<td class=${`heat-${step(share)}`}><button type="button" aria-pressed=${isAlone} aria-label=${`Layer ${layer}, head ${kvHead}: ${Math.round(share * 100)}% kept`} @click=${click}>${Math.round(share * 100)}</button></td>`;
  };
  return html`<div class="wide" tabindex="0" role="region" aria-label="Kept pairs by layer and head">
    <table class="heat-table" id="heads">
      <caption>Percent of pairs kept by every layer (across) and KV head (down). Choose one to see it alone.</caption>
      <thead><tr><td></td>${layers.map((layer) => html`<th scope="col">${layer}</th>`)}</tr></thead>
      <tbody>${heads.map((head) => html`<tr><th scope="row">head ${head}</th>${layers.map((layer) => cell(layer, head))}</tr>`)}</tbody>
    </table>
  </div>`;
}

function choice(kept: Kept, chosen: Chosen, choose: (chosen: Chosen) => void): TemplateResult {
  const options = (values: readonly number[], picked: number | undefined): TemplateResult =>
    html`<option value="" ?selected=${picked === undefined}>all</option>${values.map((value) => html`<option value=${value} ?selected=${picked === value}>${value}</option>`)}`;
  const read = (event: Event): number | undefined => {
    const { value } = event.target as HTMLSelectElement;
    return value === "" ? undefined : Number(value);
  };
  const layers = [...new Set(kept.rows.map(({ layer }) => layer))];
  const heads = [...new Set(kept.rows.map(({ kv_head: head }) => head))];
  return html`<div class="row">
    <label>Layer <select id="layer" @change=${(event: Event) => choose({ ...chosen, layer: read(event) })}>${options(layers, chosen.layer)}</select></label>
    <label>Head <select id="kv-head" @change=${(event: Event) => choose({ ...chosen, kvHead: read(event) })}>${options(heads, chosen.kvHead)}</select></label>
  </div>`;
}

function textForm(submit: (event: SubmitEvent) => void): TemplateResult {
  return html`<form @submit=${submit}>
    <p>No server keeps the text of a context. Give it once more, and it is coloured by what the model kept of it; any other text is refused.</p>
    <label>Text <textarea name="text" rows="4"></textarea></label>
    <label>Or its file <input name="file" type="file"></label>
    <button type="submit">Colour the text</button>
  </form>`;
}

function textShown(kept: Kept, page: number, turn: (page: number) => void): TemplateResult {
  const pages = Math.ceil(kept.text.length / PAGE_PIECES);
  const pieces = kept.text.slice(page * PAGE_PIECES, (page + 1) * PAGE_PIECES);
  const best = words(kept.text, kept.text_rows)
    .sort((a, b) => b.share - a.share)
    .slice(0, SHOWN_WORDS);
  return html`<div class="text" id="kept-text" tabindex="0" role="region" aria-label="The text, coloured by what was kept of it">${runs(
    pieces,
    kept.text_rows,
  ).map(({ text, heat }) => html`<span class=${`heat-${heat}`}>${text}</span>`)}</div>
    ${
      pages < 2
        ? nothing
        : html`<p class="actions">
            <button type="button" ?disabled=${page === 0} @click=${() => turn(page - 1)}>Back</button>
            Part ${page + 1} of ${pages}
            <button type="button" ?disabled=${page === pages - 1} @click=${() => turn(page + 1)}>On</button>
          </p>`
    }
    <p>Kept most: ${best.map(({ word, share }, i) => html`${i === 0 ? nothing : ", "}<strong>${word}</strong> ${format.percent(share)}`)}.</p>`;
}

/** Neighbours of one colour are one element: a page of text is hundreds of them, not thousands. */
function runs(pieces: readonly Piece[], textRows: number): { text: string; readonly heat: number }[] {
  const found: { text: string; readonly heat: number }[] = [];
  for (const piece of pieces) {
    const heat = step(pieceShare(piece, textRows));
    const last = found.at(-1);
    if (last?.heat === heat) last.text += piece.text;
    else found.push({ text: piece.text, heat });
  }
  return found;
}

/** One pixel for each bin and row, enlarged by the page. */
function drawMap(canvas: HTMLCanvasElement, kept: Kept): void {
  const width = kept.rows[0]?.kept_per_bin.length ?? 0;
  const height = kept.rows.length;
  if (width === 0 || height === 0) return;
  canvas.width = width;
  canvas.height = height;
  // At least two points of height a row, and not higher than a screen.
  canvas.style.height = `${Math.min(600, Math.max(90, height * 2))}px`;
  canvas.setAttribute("role", "img");
  const shares = kept.rows.map((row) => rowShare(kept, row));
  const most = shares.indexOf(Math.max(...shares));
  const row = kept.rows[most];
  canvas.setAttribute(
    "aria-label",
    `Kept share of every ${kept.bin_tokens} tokens for ${height} heads; layer ${row?.layer}, head ${row?.kv_head} kept most: ${format.percent(shares[most] ?? 0)}`,
  );
  const colours = stepColours();
  const drawing = canvas.getContext("2d");
  if (drawing === null) return;
  const image = drawing.createImageData(width, height);
  kept.rows.forEach(({ kept_per_bin: counts }, y) => {
    counts.forEach((count, x) => {
      const colour = colours[step(count / binSize(kept, x))] ?? [0, 0, 0];
      image.data.set([...colour, 255], 4 * (y * width + x));
    });
  });
  drawing.putImageData(image, 0, 0);
}
