/**
 * A process that puts the same keys as its siblings, if absent, and tells its parent which it
 * won. Run by record-writer.process.test.ts.
 *
 * @module
 */
import { isKvaultError } from "@kvault/core";
import { openFilesystemStore } from "../backends/filesystem.ts";

const store = await openFilesystemStore(process.argv[2] as string);
const won: number[] = [];
process.send?.("ready");
process.once("message", async (numKeys: number) => {
  for (let i = 0; i < numKeys; i++) {
    try {
      await store.put(`race/${i}.bin`, new TextEncoder().encode(`${process.pid}`), { ifAbsent: true });
      won.push(i);
    } catch (error) {
      if (!isKvaultError(error, "STORE_EXISTS")) throw error;
    }
  }
  process.send?.(won, () => process.disconnect());
});
