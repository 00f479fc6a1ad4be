/** An error on the page: what could not be done, its code, what to do next. @module */
import { adviceFor } from "./advice.ts";
import { ApiError } from "./api.ts";
import { html, nothing, type TemplateResult } from "./vendor/lit-html.js";

export function problem(error: unknown): TemplateResult | typeof nothing {
  if (error === undefined) return nothing;
  const { code, message, requestId } =
    error instanceof ApiError
      ? error
      : { code: "INTERNAL", message: error instanceof Error ? error.message : String(error), requestId: "" };
  return html`<div class="problem" role="alert">
    <strong>${message}</strong>
    <p>${adviceFor(code)}</p>
    <p class="quiet">${code}${requestId === "" ? nothing : html`, request <code>${requestId}</code>`}</p>
  </div>`;
}
