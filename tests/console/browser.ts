/**
 * The browser that `tools/setup-browser` found, driven by Playwright: nothing is downloaded, and
 * nothing is asked of any host but this machine's.
 *
 * @module
 */
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { CACHE_DIR } from "../cache-dir.ts";

/** Longest wait of one step: a build of the tests' text, on a busy machine. */
const STEP_MS = 30_000;

/** What Chromium does by itself and must not do here. */
const QUIET = [
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-gpu",
  "--disable-quic",
  "--disable-sync",
  "--no-first-run",
  // Fonts as every machine has them, so that pictures differ by what changed.
  "--font-render-hinting=none",
];

export async function openBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: join(CACHE_DIR, "browser", "chromium"),
    // Its sandbox needs rights that root in a container does not have.
    chromiumSandbox: process.getuid?.() !== 0,
    args: QUIET,
  });
}

export interface ConsolePage {
  readonly page: Page;
  /** What the page complained of: errors and warnings of the browser's console, uncaught errors, requests to other hosts. */
  readonly complaints: readonly string[];
}

/** A tab of its own session, on the console of the gateway at `base`. */
export async function openConsole(browser: Browser, base: string, theme: "light" | "dark" = "light"): Promise<ConsolePage> {
  const context = await browser.newContext({
    baseURL: base,
    colorScheme: theme,
    reducedMotion: "reduce",
    viewport: { width: 1280, height: 900 },
  });
  const page = await context.newPage();
  page.setDefaultTimeout(STEP_MS);
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(`${message.type()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`uncaught: ${error.message}`));
  page.on("request", (request) => {
    if (!request.url().startsWith(base) && !request.url().startsWith("data:")) complaints.push(`request to ${request.url()}`);
  });
  await page.goto("/");
  return { page, complaints };
}

/** Fills the form and sends it; resolves on the context's page. */
export async function createContext(
  page: Page,
  text: string,
  name: string,
  more: { keep?: string; spec?: string } = {},
): Promise<void> {
  await page.getByRole("navigation").getByRole("link", { name: "New context" }).click();
  await page.getByLabel("Name", { exact: true }).fill(name);
  await page.getByLabel("Model").selectOption("smollm2-135m");
  await page.getByLabel("Keep, percent of all pairs").fill(more.keep ?? "30");
  await page.getByLabel(/^Method/).fill(more.spec ?? "kvzip");
  await page.getByLabel("Text", { exact: true }).fill(text);
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByRole("heading", { level: 1, name }).waitFor();
}
