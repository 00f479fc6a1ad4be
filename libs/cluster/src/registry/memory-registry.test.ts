import { describe, expect, test } from "vitest";
import { registryConformance } from "../testing/registry-conformance.ts";
import { MemoryRegistry } from "./memory-registry.ts";
import type { RegistryOptions, WorkerInfo } from "./worker-registry.ts";

const open = async (options: RegistryOptions): Promise<readonly [MemoryRegistry, MemoryRegistry]> => {
  const registry = new MemoryRegistry(options);
  return [registry, registry];
};

describe("MemoryRegistry", () => {
  test.each(registryConformance(open))("$name", ({ run }) => run());

  test("refuses a lease that two lost beats would end", () => {
    expect(() => new MemoryRegistry({ beatMs: 5_000, leaseMs: 14_999 })).toThrow(RangeError);
  });
});

describe("registryConformance()", () => {
  class ListsNothing extends MemoryRegistry {
    override async list(): Promise<readonly WorkerInfo[]> {
      return [];
    }
  }
  test("notices a registry that forgets", async () => {
    const checks = registryConformance(async (options) => {
      const registry = new ListsNothing(options);
      return [registry, registry];
    });
    const [first] = checks;
    await expect(first?.run()).rejects.toThrow();
  });
});
