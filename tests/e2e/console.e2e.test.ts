/** The web console in a real browser, on `kvault up` with real weights: one life of a context, and what axe says of every page. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import axe, { type AxeResults } from "axe-core";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createContext, openBrowser, openConsole } from "../console/browser.ts";
import { kvault, type RunningProcess, SMALL_MODEL, start } from "./support/kvault.ts";

const TEXT = [
  "The ferry to Lund leaves at 7:40 from pier three. The ferry to Oden leaves at 9:15 from pier eight.",
  "Dogs travel free, bicycles cost four crowns, and nobody is taken without a ticket.",
  "In winter the last boat goes at six; in summer, when the nights are light, at half past eleven.",
]
  .join("\n")
  .concat("\n")
  .repeat(4);

let folder = "";
let up: RunningProcess;
let base = "";
let browser: Browser;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "kvault-e2e-"));
  [up, browser] = await Promise.all([
    start(["up", "--json", "--address", "127.0.0.1:0", "--data-dir", join(folder, "data")]),
    openBrowser(),
  ]);
  base = `http://${up.ready["httpAddress"]}`;
});
afterAll(async () => {
  await browser?.close();
  await up?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** Nothing serious, in both themes. */
async function isAccessible(page: Page): Promise<void> {
  await page.evaluate(axe.source);
  for (const theme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme: theme });
    const results = (await page.evaluate("axe.run(document, { resultTypes: ['violations'] })")) as AxeResults;
    const found = results.violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(({ id, help, nodes }) => ({ id, help, at: nodes.map(({ target }) => String(target)).slice(0, 5) }));
    expect({ page: page.url(), theme, found }).toEqual({ page: page.url(), theme, found: [] });
  }
  await page.emulateMedia({ colorScheme: "light" });
}

test("a context is made, watched, looked into, asked and deleted, without one complaint of the browser", async () => {
  const { page, complaints } = await openConsole(browser, base);
  await page.getByText("No contexts yet").waitFor();
  await isAccessible(page);

  await page.getByRole("navigation").getByRole("link", { name: "New context" }).click();
  await page.getByRole("option", { name: /smollm2-135m/ }).waitFor({ state: "attached" });
  await isAccessible(page);
  await createContext(page, TEXT, "ferries");
  // Its build is followed to the end, phase by phase.
  const phases = page.locator(".build");
  await Promise.race([phases.waitFor(), page.getByText("Pairs kept").waitFor()]);
  await page.getByText("Pairs kept").waitFor();

  // Which pairs: every layer and head, the map, the words.
  const heads = page.locator("#heads");
  await heads.waitFor();
  expect(await heads.getByRole("button").count()).toBe(30 * 3);
  const shares = (await heads.getByRole("button").allTextContents()).map(Number);
  const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
  // The template's own tokens are always kept, so it is above what was asked for, by little.
  expect(mean).toBeGreaterThan(28);
  expect(mean).toBeLessThan(60);
  const map = page.locator("canvas.map");
  expect(await map.getAttribute("aria-label")).toMatch(/for 90 heads; layer \d+, head \d kept most/);
  const colours = await map.evaluate((canvas: unknown) => {
    const { width, height, getContext } = canvas as { width: number; height: number; getContext: (kind: string) => unknown };
    const drawing = getContext.call(canvas, "2d") as {
      getImageData(x: number, y: number, w: number, h: number): { data: number[] };
    };
    return new Set(drawing.getImageData(0, 0, width, height).data).size;
  });
  expect(colours).toBeGreaterThan(5);
  const words = page.locator("#kept-text");
  expect((await words.textContent())?.trim()).toBe(TEXT.trim());
  expect(await words.locator("span").count()).toBeGreaterThan(20);
  // One head alone: by keyboard, and the other way round.
  await heads.getByRole("button").nth(31).focus();
  await page.keyboard.press("Enter");
  await expect.poll(() => heads.locator("button[aria-pressed=true]").count()).toBe(1);
  expect(await page.locator("#layer").inputValue()).toBe("1");
  await page.locator("#layer").selectOption("all");
  await expect.poll(() => heads.locator("button[aria-pressed=true]").count()).toBe(0);

  await page.getByLabel("Question").fill("When does the ferry to Lund leave?");
  await page.getByLabel(/^Longest answer/).fill("24");
  await page.getByRole("button", { name: "Ask" }).click();
  await page.locator("#timings").waitFor();
  expect((await page.locator("#answer").textContent())?.trim()).not.toBe("");
  expect(await page.locator("#timings").textContent()).toMatch(/First token after.*ms|s.*tokens\/s/);
  await isAccessible(page);

  await page.getByRole("link", { name: "Workers" }).click();
  await page.getByRole("cell", { name: "decode" }).waitFor();
  await page.locator(".chart canvas").waitFor();
  await isAccessible(page);

  await page.getByRole("navigation").getByRole("link", { name: "Contexts" }).click();
  await page.getByRole("button", { name: "Delete ferries" }).click();
  await page.getByRole("button", { name: "Undelete ferries" }).click();
  await page.getByRole("cell", { name: "active" }).waitFor();
  await isAccessible(page);
  await page.getByRole("link", { name: "ferries" }).click();
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await page.getByRole("button", { name: "Undelete" }).waitFor();
  expect(complaints).toEqual([]);
  await page.context().close();
});

test("another text than the context's own is refused, and the page says what to do", async () => {
  const made = await fetch(`${base}/v1/contexts?model=${SMALL_MODEL}&keep_ratio=1`, {
    method: "POST",
    headers: { "content-type": "text/plain" },
    body: "Greta waits at the harbour for the noon boat.",
  });
  const { name } = (await made.json()) as { name: string };
  const { page, complaints } = await openConsole(browser, base);
  await page.goto(`/console/#/context/${name.replace("contexts/", "")}`);
  await page.getByText("No server keeps the text").waitFor();
  await page.getByLabel("Text", { exact: true }).fill("Greta waits somewhere else.");
  await page.getByRole("button", { name: "Colour the text" }).click();
  await page.getByRole("alert").getByText("not the one that this context was made of").waitFor();
  await isAccessible(page);
  await page.getByLabel("Text", { exact: true }).fill("Greta waits at the harbour for the noon boat.");
  await page.getByRole("button", { name: "Colour the text" }).click();
  await expect.poll(() => page.locator("#kept-text .heat-8").textContent()).toContain("harbour");
  // The refusal is an answer of status 400, which Chromium reports; there is nothing else.
  expect(complaints.filter((complaint) => !complaint.includes("400 (Bad Request)"))).toEqual([]);
  await page.context().close();
});

test("a gateway that asks for a token is signed in to; the token ends with the tab", async () => {
  const access = join(folder, "access.json");
  const { stdout } = await kvault(["token", "create", "--tenant", "acme", "--json", "--tokens-file", access]);
  const { token } = JSON.parse(stdout) as { token: string };
  const args = ["up", "--json", "--address", "127.0.0.1:0", "--data-dir", join(folder, "secure"), "--tokens-file", access];
  const secure = await start(args);
  try {
    const { page, complaints } = await openConsole(browser, `http://${secure.ready["httpAddress"]}`);
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    await isAccessible(page);
    await page.getByLabel("Token").fill("kvt_wrong");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").waitFor();
    await page.getByLabel("Token").fill(token);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("No contexts yet").waitFor();
    expect(await page.evaluate("Object.values(localStorage).join()")).not.toContain(token);
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    expect(await page.evaluate("sessionStorage.length")).toBe(0);
    expect(complaints.filter((complaint) => !complaint.includes("401 (Unauthorized)"))).toEqual([]);
    await page.context().close();
  } finally {
    await secure.stop();
  }
});
