import { describe, expect, test } from "vitest";
import { catalogueConformance } from "../testing/catalogue-conformance.ts";
import type { ContextRecord, ContextState } from "./context-catalogue.ts";
import { MemoryCatalogue } from "./memory.ts";

describe("MemoryCatalogue", () => {
  test.each(catalogueConformance(async () => new MemoryCatalogue()))("$name", ({ run }) => run());
});

describe("catalogueConformance()", () => {
  const broken: Record<string, new () => MemoryCatalogue> = {
    "takes any arrow": class extends MemoryCatalogue {
      override async change(record: ContextRecord, state: ContextState) {
        await this.remove(record);
        return (await this.begin({ ...record, state })).created;
      }
    },
    "does not tell starts apart": class extends MemoryCatalogue {
      override async change({ id }: ContextRecord, state: ContextState) {
        const found = await this.get(id);
        return found !== undefined && super.change(found, state);
      }
    },
    "lists without order": class extends MemoryCatalogue {
      override async list(options: { limit: number }) {
        return [...(await super.list(options))].reverse();
      }
    },
    "finds nothing due": class extends MemoryCatalogue {
      override async due() {
        return [];
      }
    },
    "ignores the signal of a watch": class extends MemoryCatalogue {
      override async *watch(id: string) {
        let reads = 0;
        for await (const record of super.watch(id)) if (++reads < 3) yield record;
      }
    },
  };

  test.each(Object.entries(broken))("fails on a catalogue that %s", async (_, Broken) => {
    const runs = catalogueConformance(async () => new Broken()).map(({ run }) =>
      run().then(
        () => Promise.reject(new Error("passed")),
        () => true,
      ),
    );
    expect(await Promise.any(runs)).toBe(true);
  });
});
