/**
 * The right answers of the toy model, from an engine in this process over a store in memory: what
 * a cluster of processes is checked against.
 *
 * @module
 */
import { openMemoryStore } from "@kvault/kvstore";
import { createEngineCore } from "../engine/core.ts";
import { openToyModel } from "./toy-models.ts";
import { toyBuild, toyQuery } from "./toy-requests.ts";
import { makeToyResident } from "./toy-runner.ts";

/** What every greedy answer on `text` begins with: `<checksum> `; the question follows. */
export async function toyAnswerPrefix(text: string, spec: string): Promise<string> {
  const core = createEngineCore({
    store: openMemoryStore(),
    openModel: openToyModel,
    makeResident: makeToyResident,
    residentBytes: Number.MAX_SAFE_INTEGER,
    lostContextIds: [],
  });
  const call = {
    signal: new AbortController().signal,
    emit: () => undefined,
    waitedMs: 0,
    proceed: Promise.resolve(),
  };
  try {
    const build = toyBuild(text, spec);
    await core.handlers.build(build, call);
    const { text: answer } = await core.handlers.query(toyQuery(build, "?"), call);
    return answer.slice(0, -1);
  } finally {
    await core.close();
  }
}
