/** A token for a gateway that asks for one. @module */
import { problem } from "../problem.ts";
import { setToken, token } from "../session.ts";
import { html, type TemplateResult } from "../vendor/lit-html.js";
import type { View } from "../view.ts";

export function signInView(view: View, error: unknown, signedIn: () => void): TemplateResult {
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    const given = new FormData(event.target as HTMLFormElement).get("token");
    setToken(String(given).trim());
    view.announce("Signing in");
    signedIn();
  };
  return html`<h1>Sign in</h1>
    ${problem(token() === undefined ? undefined : error)}
    <form class="panel" @submit=${submit}>
      <label>Token <input name="token" type="password" required autocomplete="off" spellcheck="false" placeholder="kvt_…"></label>
      <p class="quiet">This gateway asks for a token. It stays in this tab and is forgotten when the tab is closed.</p>
      <button class="main" type="submit">Sign in</button>
    </form>`;
}
