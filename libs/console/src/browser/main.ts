/**
 * The console: which page is shown, who is signed in, light or dark.
 *
 * @module
 */
import { ApiError } from "./api.ts";
import { forgetAll, token } from "./session.ts";
import { render } from "./vendor/lit-html.js";
import type { View } from "./view.ts";
import { contextView } from "./views/context.ts";
import { contextsView } from "./views/contexts.ts";
import { createView } from "./views/create.ts";
import { signInView } from "./views/sign-in.ts";
import { workersView } from "./views/workers.ts";

interface Page {
  readonly title: string;
  open(view: View): void | Promise<void>;
}

const PAGES: Readonly<Record<string, Page>> = {
  contexts: { title: "Contexts", open: contextsView },
  context: { title: "Context", open: contextView },
  create: { title: "New context", open: createView },
  workers: { title: "Workers", open: workersView },
};

const THEME = "kvault.theme";
const main = document.getElementById("main") as HTMLElement;
const announcer = document.getElementById("announcer") as HTMLElement;
const signOut = document.getElementById("sign-out") as HTMLButtonElement;
const theme = document.getElementById("theme") as HTMLSelectElement;

let left = new AbortController();
let isFirst = true;

function show(): void {
  const [name = "", ...params] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  // A link into the page, such as the one that skips the navigation.
  if (location.hash !== "" && !location.hash.startsWith("#/")) return;
  const known = PAGES[name] ?? (PAGES["contexts"] as Page);
  open(known, params);
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#/${name || "contexts"}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function open(page: Page, params: readonly string[]): void {
  left.abort();
  left = new AbortController();
  const { signal } = left;
  const root = document.createElement("div");
  main.replaceChildren(root);
  document.title = `${page.title} · KVault console`;
  signOut.hidden = token() === undefined;
  const view: View = {
    root,
    signal,
    params,
    announce: (text) => {
      announcer.textContent = text;
    },
    handled: (error) => {
      if (signal.aborted) return true;
      if (!(error instanceof ApiError) || error.code !== "UNAUTHENTICATED") return false;
      open({ title: "Sign in", open: (own) => render(signInView(own, error, show), own.root) && undefined }, []);
      return true;
    },
  };
  void page.open(view);
  if (!isFirst) main.focus();
  isFirst = false;
}

function applyTheme(): void {
  if (theme.value === "") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme.value;
  // What is drawn, not styled, looks its colours up again.
  dispatchEvent(new Event("kvault:theme"));
}

theme.value = localStorage.getItem(THEME) ?? "";
theme.addEventListener("change", () => {
  localStorage.setItem(THEME, theme.value);
  applyTheme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);
signOut.addEventListener("click", () => {
  forgetAll();
  location.hash = "#/contexts";
  show();
});
addEventListener("hashchange", show);
applyTheme();
show();
