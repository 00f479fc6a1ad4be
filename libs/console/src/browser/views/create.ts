/** A new context from pasted text or a file. @module */
import { api, idOf, type NewContext } from "../api.ts";
import * as format from "../format.ts";
import type { Model } from "../messages.ts";
import { problem } from "../problem.ts";
import { rememberText } from "../session.ts";
import { html, render } from "../vendor/lit-html.js";
import type { View } from "../view.ts";

/** As the gateway takes a text in pieces. */
const MAX_FILE_BYTES = 64 * 2 ** 20;

export async function createView({ root, signal, announce, handled }: View): Promise<void> {
  let models: readonly Model[] = [];
  let failure: unknown;
  let busy = false;

  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const form = new FormData(event.target as HTMLFormElement);
    const field = (name: string): string => String(form.get(name) ?? "");
    busy = true;
    failure = undefined;
    show();
    try {
      const text = await textFrom(form);
      const days = field("days");
      const request: NewContext = {
        model: field("model"),
        display_name: field("name"),
        keep_ratio: String(Number(field("keep")) / 100),
        spec: field("spec"),
        ttl: days === "" ? "" : `${Math.round(Number(days) * 86_400)}s`,
      };
      const context = await api.create(request, text, signal);
      rememberText(context.name, text);
      announce("The context is being built");
      location.hash = `#/context/${idOf(context)}`;
    } catch (error) {
      if (handled(error)) return;
      failure = error;
      busy = false;
      show();
    }
  };

  const show = (): void =>
    void render(
      html`<h1>New context</h1>
        ${problem(failure)}
        <form class="panel" @submit=${submit} aria-busy=${busy}>
          <div class="row">
            <label>Name <input name="name" maxlength="256" placeholder="as you will look for it"></label>
            <label>Model
              <select name="model" required>
                ${models.map(({ id, kvault }) => html`<option value=${id} ?selected=${kvault.present}>${id} (up to ${format.count(kvault.max_tokens)} tokens)</option>`)}
              </select>
            </label>
            <label>Keep, percent of all pairs <input name="keep" type="number" min="1" max="100" step="1" value="30" required></label>
            <label>Method (empty: the server's) <input name="spec" maxlength="4096" list="methods" placeholder="kvault"></label>
            <label>Expires after, days (empty: never) <input name="days" type="number" min="0.01" step="any"></label>
          </div>
          <datalist id="methods"><option value="kvault"></option><option value="kvzip"></option><option value="snapkv"></option><option value="expected-attention"></option><option value="none"></option></datalist>
          <label>Text <textarea name="text" rows="10" placeholder="Paste the text here, or choose a file below"></textarea></label>
          <label>Or a text file <input name="file" type="file" accept="text/*,.md,.json,.ts,.js,.py,.rs,.go,.java,.c,.h"></label>
          <p class="quiet">No server keeps the text: this tab does, until it is closed, so that it can show which words were kept.</p>
          <button class="main" type="submit" ?disabled=${busy}>${busy ? "Sending…" : "Create"}</button>
        </form>`,
      root,
    );

  show();
  try {
    const all = await api.models(signal);
    // Those on this machine first: the others are downloaded by the first build.
    models = [...all].sort((a, b) => Number(b.kvault.present) - Number(a.kvault.present));
  } catch (error) {
    if (handled(error)) return;
    failure = error;
  }
  show();
}

/** The file's text, or what was pasted. Throws what the person can mend. */
async function textFrom(form: FormData): Promise<string> {
  const file = form.get("file");
  if (!(file instanceof File) || file.size === 0) return String(form.get("text") ?? "");
  if (file.size > MAX_FILE_BYTES)
    throw new RangeError(`Cannot send ${file.name}: ${format.bytes(file.size)}, at most ${format.bytes(MAX_FILE_BYTES)}`);
  return file.text();
}
