import { afterEach, describe, expect, test } from "vitest";
import { startSecureStack } from "../testing/secure-stack.ts";
import { closeAll, type Stack, startStack } from "../testing/stack.ts";

afterEach(closeAll);

const HTTP = { httpAddress: "127.0.0.1:0" } as const;

const get = ({ gateway }: Stack, path: string, init: RequestInit = {}): Promise<Response> =>
  fetch(`http://${gateway.httpAddress}${path}`, init);

describe("/console", () => {
  test("is found from the root, and every file that a page or module names is there", async () => {
    const stack = await startStack({}, HTTP);
    const page = await get(stack, "/");
    expect(page.url).toMatch(/\/console\/$/);
    const seen = new Set<string>();
    const look = async (path: string, text: string): Promise<void> => {
      for (const [, name = ""] of text.matchAll(
        /(?:(?:src|href)="|\bfrom ?"|\bimport ?"|\bimport\(")(\.{1,2}\/[^"#]+|[\w./-]+\.(?:js|css|svg))"/g,
      )) {
        const { pathname } = new URL(name, `http://console${path}`);
        if (seen.has(pathname)) continue;
        seen.add(pathname);
        const found = await get(stack, pathname);
        expect(`${pathname} ${found.status}`).toBe(`${pathname} 200`);
        if (!pathname.includes("/vendor/")) await look(pathname, await found.text());
      }
    };
    await look("/console/", await page.text());
    expect([...seen]).toEqual(
      expect.arrayContaining(["/console/main.js", "/console/vendor/lit-html.js", "/console/vendor/uPlot.esm.js"]),
    );
  });

  test("lets its pages run nothing but its own files", async () => {
    const stack = await startStack({}, HTTP);
    const page = await get(stack, "/console/");
    const policy = page.headers.get("content-security-policy") ?? "";
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toMatch(/unsafe|\*|https?:/);
    const text = await page.text();
    expect(text).not.toMatch(/<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=|https?:/);
  });

  test("is not sent again while it has not changed", async () => {
    const stack = await startStack({}, HTTP);
    const etag = (await get(stack, "/console/main.js")).headers.get("etag") ?? "";
    expect((await get(stack, "/console/main.js", { headers: { "if-none-match": etag } })).status).toBe(304);
  });

  test("is served to whoever has no token, who learns nothing from it", async () => {
    const stack = await startSecureStack({}, HTTP);
    expect((await get(stack, "/console/")).status).toBe(200);
    expect((await get(stack, "/v1/contexts")).status).toBe(401);
    expect((await get(stack, "/v1/workers")).status).toBe(401);
    expect((await get(stack, `/v1/contexts/c${"0".repeat(32)}/kept`)).status).toBe(401);
  });
});
