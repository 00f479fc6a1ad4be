/**
 * A process that publishes and deletes records in the store named by its argument until it is
 * killed, and tells its parent of every commit. Run by record-writer.process.test.ts.
 *
 * @module
 */
import { openFilesystemStore } from "../backends/filesystem.ts";
import { deleteRecord } from "../record.ts";
import { publishSample } from "./sample-record.ts";

const store = await openFilesystemStore(process.argv[2] as string);
for (let round = 0; ; round++) {
  // Every process builds this one, each with parts of its own: the first to commit wins.
  const shared = await publishSample(store, `shared ${round % 50}`, process.pid + round);
  process.send?.(shared.contextId);
  const own = await publishSample(store, `own ${process.pid} ${round}`, round);
  if (round % 2 === 0) await deleteRecord(store, own.contextId);
  else process.send?.(own.contextId);
}
