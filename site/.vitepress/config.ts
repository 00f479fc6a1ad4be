/** The site: what is where, and nothing from elsewhere (search, fonts and icons are its own). */
import { readdirSync, readFileSync } from "node:fs";
import { renderMermaidSVG } from "beautiful-mermaid";
import { defineConfig, type MarkdownEnv, type MarkdownRenderer } from "vitepress";

const page = (text: string, name: string): { text: string; link: string } => ({ text, link: `/docs/${name}` });

const SIDEBAR = [
  {
    text: "Start",
    items: [
      { text: "Introduction", link: "/README" },
      page("Quick start", "quick-start"),
      page("The command line", "cli"),
      page("Talking gRPC", "grpc"),
      page("Talking HTTP", "http"),
      page("The console", "console"),
      { text: "TypeScript client", link: "/libs/client/README" },
      { text: "Examples", link: "/examples/README" },
    ],
  },
  {
    text: "Concepts",
    items: [
      page("Words and ideas", "concepts"),
      { text: "Choosing a method", link: "/docs/methods#choosing-a-method" },
      page("Architecture", "architecture"),
      page("The life of a context", "context-life"),
      page("Our own method", "kvault-method"),
    ],
  },
  {
    text: "Operations",
    items: [
      page("Configuration", "config"),
      page("Operations and runbooks", "operations"),
      page("Kubernetes", "kubernetes"),
      page("Observability", "observability"),
      page("Security", "security"),
      page("Reliability", "reliability"),
      page("Performance", "performance"),
      page("GPU machines", "gpu"),
    ],
  },
  {
    text: "Reference",
    items: [
      page("API", "api"),
      page("Errors", "errors"),
      page("Record format", "record-format"),
      page("Compression methods", "methods"),
      page("Accuracy", "accuracy"),
    ],
  },
  {
    text: "Extending",
    items: [
      page("Add a method", "add-a-method"),
      page("Add a store", "add-a-store"),
      page("Add a model family", "add-a-family"),
      { text: "Contributing", link: "/CONTRIBUTING" },
      { text: "Decisions", link: "/docs/adr/" },
      { text: "Changelog", link: "/CHANGELOG" },
    ],
  },
];

/** Pages that have no place above yet, by their own titles: a new page is on the site before anybody thinks of it. */
function unlisted(): { text: string; link: string }[] {
  const listed = new Set(SIDEBAR.flatMap(({ items }) => items.map(({ link }) => link)));
  const folder = new URL("../pages/docs/", import.meta.url);
  return readdirSync(folder)
    .filter((name) => name.endsWith(".md"))
    .map((name) => ({ name: name.slice(0, -".md".length), text: readFileSync(new URL(name, folder), "utf8") }))
    .map(({ name, text }) => page(/^# (.*)$/m.exec(text)?.[1] ?? name, name))
    .filter(({ link }) => !listed.has(link));
}

/** What is searched: pages without colours, which cost as much as the rest of the build; no source files. */
function plainPage(source: string, env: MarkdownEnv, markdown: MarkdownRenderer): string {
  const { highlight } = markdown.options;
  markdown.options.highlight = null;
  try {
    return /^---\n[^-]*\bsearch: false\b/.test(source) ? "" : markdown.render(source, env);
  } finally {
    markdown.options.highlight = highlight ?? null;
  }
}

/** Mermaid's diagrams as pictures, drawn while the site is built: nothing is drawn, or fetched, by who reads it. */
function drawDiagrams(markdown: MarkdownRenderer): void {
  const { fence } = markdown.renderer.rules;
  markdown.renderer.rules.fence = (tokens, index, ...rest) => {
    const { info = "", content = "" } = tokens[index] ?? {};
    if (info.trim() !== "mermaid") return fence?.(tokens, index, ...rest) ?? "";
    const picture = renderMermaidSVG(content, { bg: "#ffffff", fg: "#1f2933" }).replace(/@import url\([^)]*\);/, "");
    const source = `data:image/svg+xml;base64,${Buffer.from(picture).toString("base64")}`;
    const image = `<img alt="${markdown.utils.escapeHtml(content)}" style="max-width: none; width: 1100px" src="${source}">`;
    // Wide ones are read at their size.
    return `<div style="overflow-x: auto" tabindex="0">${image}</div>\n`;
  };
}

export default defineConfig({
  title: "KVault",
  description: "Compressed KV caches of long contexts: read once, stored, queried many times",
  srcDir: "pages",
  outDir: "dist",
  cacheDir: ".vitepress/cache",
  cleanUrls: true,
  metaChunk: true,
  // What looks like a tag in the pages is text.
  markdown: { html: false, theme: { light: "github-light", dark: "github-dark" }, config: drawDiagrams },
  themeConfig: {
    nav: [
      { text: "Start", link: "/docs/quick-start" },
      { text: "API", link: "/docs/api" },
      { text: "Operations", link: "/docs/operations" },
      { text: "Errors", link: "/docs/errors" },
    ],
    sidebar: [...SIDEBAR, { text: "More", items: unlisted() }].filter(({ items }) => items.length > 0),
    outline: [2, 3],
    search: { provider: "local", options: { _render: plainPage } },
  },
});
