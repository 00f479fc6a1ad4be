/**
 * The files of the web console, for whoever serves them: pages, compiled modules, and the two
 * libraries they load, each as its package has it. Nothing is bundled, at build time or later.
 *
 * @module
 */
import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";

export interface ConsoleFile {
  /** Below where the console is served; "" is the page itself. */
  readonly path: string;
  readonly type: string;
  readonly file: string;
}

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};

const PAGES = ["index.html", "console.css", "icon.svg"];

/** Every file there is. Throws when the modules were not compiled. */
export function consoleFiles(): readonly ConsoleFile[] {
  const folder = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
  const pages = folder("../public/");
  const modules = folder(import.meta.url.endsWith(".ts") ? "../dist/browser/" : "./browser/");
  const { resolve } = createRequire(import.meta.url);
  // Node is given a build of its own, in a folder beside the browsers'.
  const litHtml = join(dirname(dirname(resolve("lit-html"))), "lit-html.js");
  const uPlot = dirname(resolve("uplot"));
  return [
    ...PAGES.map((name) => consoleFile(name === "index.html" ? "" : name, join(pages, name))),
    ...readdirSync(modules, { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".js") && !name.endsWith(".test.js"))
      .map((name) => consoleFile(name.replaceAll("\\", "/"), join(modules, name))),
    consoleFile("vendor/lit-html.js", litHtml),
    consoleFile("vendor/uPlot.esm.js", join(uPlot, "uPlot.esm.js")),
    consoleFile("vendor/uPlot.min.css", join(uPlot, "uPlot.min.css")),
  ];
}

function consoleFile(path: string, file: string): ConsoleFile {
  return { path, file, type: TYPES[extname(file)] ?? "application/octet-stream" };
}
