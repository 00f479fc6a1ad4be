import { CompressionReportSchema, create, Progress_Phase } from "@kvault/rpc";
import { expect, test } from "vitest";
import { creating } from "../builds/builder.ts";
import type { ContextRecord } from "../catalogue/context-catalogue.ts";
import { Backlog } from "./backlog.ts";

const building = (phase: Progress_Phase, done = 0, total = 0): ContextRecord =>
  ({ id: `${phase}`, state: creating({ phase, done, total }) }) as ContextRecord;
const report = (contextTokens: number, prefill: number, score: number) =>
  create(CompressionReportSchema, { contextTokens, seconds: { prefill, score } });

function backlogOf(...records: readonly ContextRecord[]) {
  let looks = 0;
  let nowMs = 0;
  const backlog = new Backlog(
    {
      building: async () => {
        looks++;
        return records.filter(({ state }) => state.type === "creating");
      },
      list: async () => records.filter(({ state }) => state.type === "active"),
    },
    () => nowMs,
  );
  return {
    backlog,
    looks: () => looks,
    later: () => {
      nowMs += 1_000;
    },
  };
}

test("an idle queue is zero, not absent", async () => {
  const { backlog } = backlogOf();
  expect([await backlog.tokens(), await backlog.seconds()]).toEqual([0, 0]);
});

test("what is left of builds under way counts, at the speed of the builds before", async () => {
  const { backlog } = backlogOf(
    building(Progress_Phase.QUEUED, 0, 4_000),
    building(Progress_Phase.PREFILL, 500, 1_000),
    building(Progress_Phase.SCORE, 500, 1_000),
    building(Progress_Phase.PUBLISH, 1, 24),
  );
  backlog.learn(report(1_000, 1, 1));
  expect(await backlog.tokens()).toBe(4_000 + 750 + 250);
  expect(await backlog.seconds()).toBe(10);
});

test("a build that loads a model counts as an average one; the speed follows the newest builds", async () => {
  const { backlog } = backlogOf(building(Progress_Phase.LOADING, 300, 379));
  backlog.learn(report(1_000, 1, 0));
  expect(await backlog.seconds()).toBe(1);
  for (let i = 0; i < 30; i++) backlog.learn(report(1_000, 4, 0));
  expect(await backlog.seconds()).toBeCloseTo(4, 1);
  backlog.learn(report(0, 0, 0));
  expect(await backlog.seconds()).toBeCloseTo(4, 1);
});

test("a gateway that saw no build end goes by those of the last day", async () => {
  const built = { id: "built", state: { type: "active", report: report(1_000, 1, 1) } } as ContextRecord;
  const { backlog } = backlogOf(built, building(Progress_Phase.QUEUED, 0, 4_000));
  expect(await backlog.seconds()).toBe(8);
});

test("both gauges of one scrape look at the catalogue once", async () => {
  const { backlog, looks, later } = backlogOf(building(Progress_Phase.QUEUED, 0, 10));
  await Promise.all([backlog.tokens(), backlog.seconds()]);
  expect(looks()).toBe(1);
  later();
  await backlog.tokens();
  expect(looks()).toBe(2);
});
