import { describe, expect, test } from "vitest";
import { NUM_PROCESSES, planFaults, type Role } from "./plan.ts";

describe("planFaults", () => {
  test("follows from the seed", () => {
    expect(planFaults(7, 90)).toEqual(planFaults(7, 90));
    expect(planFaults(8, 90)).not.toEqual(planFaults(7, 90));
  });

  test.each([1, 2, 3, 4, 5])("ten minutes hold a hundred kills and more, of every role (seed %i)", (seed) => {
    const faults = planFaults(seed, 600);
    const kills = faults.filter(({ kind }) => kind === "kill" || kind === "kill-engine");
    expect(kills.length).toBeGreaterThanOrEqual(100);
    const roles = new Set(faults.flatMap((fault) => (fault.kind === "kill" ? [fault.role] : [])));
    expect([...roles].sort()).toEqual((Object.keys(NUM_PROCESSES) as Role[]).sort());
  });

  test("ninety seconds meet every kind", () => {
    const kinds = new Set(planFaults(1, 90).map(({ kind }) => kind));
    expect([...kinds].sort()).toEqual(
      ["cut", "damage-part", "damage-row", "drop", "kill", "kill-engine", "pause", "s3", "slow"].sort(),
    );
  });

  test("faults come in order and end before the run does", () => {
    const faults = planFaults(3, 600);
    const times = faults.map(({ atMs }) => atMs);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(times.at(-1)).toBeLessThan(600_000 - 8_000);
  });
});
