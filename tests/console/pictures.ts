/**
 * The pictures of docs/console.md, taken from the console on `kvault up` with real weights.
 *
 *     make pictures
 *
 * @module
 */
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Page } from "playwright-core";
import { start } from "../e2e/support/kvault.ts";
import { createContext, openBrowser, openConsole } from "./browser.ts";

const IMAGES = fileURLToPath(new URL("../../docs/images/", import.meta.url));
const PAGE = fileURLToPath(new URL("../../docs/adr/0001-run-models-in-a-child-process.md", import.meta.url));

const folder = await mkdtemp(join(tmpdir(), "kvault-pictures-"));
const up = await start(["up", "--json", "--address", "127.0.0.1:0", "--data-dir", join(folder, "data")]);
const browser = await openBrowser();
try {
  await mkdir(IMAGES, { recursive: true });
  const { page } = await openConsole(browser, `http://${up.ready["httpAddress"]}`);
  await createContext(page, await readFile(PAGE, "utf8"), "decision 1");
  await page.locator("#kept-text").waitFor();
  await page.getByLabel("Question").fill("Why does a model run in a process of its own?");
  await page.getByLabel(/^Longest answer/).fill("60");
  await page.getByRole("button", { name: "Ask" }).click();
  await page.locator("#timings").waitFor();
  await page.locator("#main section").last().scrollIntoViewIfNeeded();
  await take(page, "console-kept", "section[aria-labelledby=kept-heading]");
  await take(page, "console-ask", "section[aria-labelledby=ask-heading]");
  await page.emulateMedia({ colorScheme: "dark" });
  await take(page, "console-kept-dark", "section[aria-labelledby=kept-heading]");
  await page.emulateMedia({ colorScheme: "light" });
  await createContext(page, "The ferry to Lund leaves at 7:40 from pier three.\n".repeat(400), "timetable");
  await page.locator(".build").waitFor();
  await page.getByRole("navigation").getByRole("link", { name: "Contexts" }).click();
  await page.getByRole("link", { name: "timetable" }).waitFor();
  await take(page, "console-contexts", "body");
} finally {
  await browser.close();
  await up.stop();
  await rm(folder, { recursive: true, force: true });
}

/** One element as docs/images/NAME.png. */
async function take(page: Page, name: string, selector: string): Promise<void> {
  // Charts are drawn in the next frame.
  await page.evaluate("new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))");
  await page.locator(selector).screenshot({ path: join(IMAGES, `${name}.png`), animations: "disabled" });
}
