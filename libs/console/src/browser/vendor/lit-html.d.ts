/** What the gateway serves as `vendor/lit-html.js`: the package's own file. */
export { html, nothing, render, type TemplateResult } from "lit-html";
