import { describe, expect, test } from "vitest";
import { leasesConformance } from "../testing/leases-conformance.ts";
import { MemoryLeases } from "./memory-leases.ts";

/** Two views of the same leases; each lets go of what was taken through it. */
async function twoViews(leases = new MemoryLeases()): Promise<readonly [MemoryLeases, MemoryLeases]> {
  return [leases, leases];
}

describe("MemoryLeases", () => {
  test.each(leasesConformance(() => twoViews()))("$name", ({ run }) => run());
});

describe("leasesConformance()", () => {
  class GivesToAll extends MemoryLeases {
    override acquire(name: string, options: { readonly ttlMs: number }): ReturnType<MemoryLeases["acquire"]> {
      return super.acquire(`${name}${Math.random()}`, options);
    }
  }
  class NeverRenews extends MemoryLeases {
    override renew(): Promise<boolean> {
      return Promise.resolve(false);
    }
  }
  class ForgetsReaders extends MemoryLeases {
    override async readers(): Promise<number> {
      return 0;
    }
  }

  test.each([GivesToAll, NeverRenews, ForgetsReaders])("notices %o", async (Broken) => {
    const outcomes = await Promise.allSettled(leasesConformance(() => twoViews(new Broken())).map(({ run }) => run()));
    expect(outcomes.some(({ status }) => status === "rejected")).toBe(true);
  });
});
