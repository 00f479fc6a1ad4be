import { failureOf } from "@kvault/core/testing";
import { afterEach, describe, expect, test } from "vitest";
import { closeAll, created, MAX_TOKENS, MODEL, startStack } from "../testing/stack.ts";

afterEach(closeAll);

describe("listing", () => {
  test("ListContexts pages through all, oldest first, each once", async () => {
    const stack = await startStack();
    const names: string[] = [];
    for (let i = 0; i < 7; i++) names.push(await created(stack, `Text ${i}.`));
    const seen: string[] = [];
    let pageToken = "";
    do {
      const page = await stack.contexts.listContexts({ pageSize: 3, pageToken });
      expect(page.contexts.length).toBeLessThanOrEqual(3);
      seen.push(...page.contexts.map(({ name }) => name));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    expect([...seen].sort()).toEqual([...names].sort());
    expect(seen[0]).toBe(names[0]);
  });

  test("a negative page size and a foreign page token are refused", async () => {
    const stack = await startStack();
    expect(await failureOf(stack.contexts.listContexts({ pageSize: -1 }))).toMatchObject({
      code: "INVALID_ARGUMENT",
      details: { field: "page_size" },
    });
    for (const pageToken of ["x", "e30", "!".repeat(5_000)]) {
      expect(await failureOf(stack.contexts.listContexts({ pageToken }))).toMatchObject({ details: { field: "page_token" } });
    }
  });

  test("ListModels and GetModel tell the catalogue", async () => {
    const stack = await startStack();
    const { models } = await stack.models.listModels({});
    const model = models.find(({ name }) => name === `models/${MODEL}`);
    expect(model).toMatchObject({
      architecture: "qwen2",
      numLayers: 24,
      numKvHeads: 2,
      headDim: 64,
      maxTokens: MAX_TOKENS,
      present: false,
    });
    expect(await stack.models.getModel({ name: `models/${MODEL}` })).toEqual(model);
    const paged = await stack.models.listModels({ pageSize: 1 });
    const rest = await stack.models.listModels({ pageToken: paged.nextPageToken });
    expect([...paged.models, ...rest.models]).toEqual(models);
    expect((await failureOf(stack.models.getModel({ name: "models/none" }))).code).toBe("MODEL_NOT_FOUND");
  });
});
