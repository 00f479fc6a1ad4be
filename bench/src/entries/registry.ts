/**
 * Every benchmark: adding one is a file and a line here.
 *
 * @module
 */
import type { Entry } from "../harness/entry.ts";
import { buildKvzip, buildRecord, buildSurrogate } from "./build.ts";
import { decode } from "./decode.ts";
import { link } from "./link.ts";
import { longContexts } from "./long-context.ts";
import { churn, residency, storedBytes } from "./memory.ts";
import { prefill } from "./prefill.ts";
import { service } from "./service.ts";
import { stepKeep } from "./step-keep.ts";
import { ttft } from "./ttft.ts";

export const ENTRIES: readonly Entry[] = [
  prefill,
  ttft,
  link,
  decode,
  stepKeep,
  buildKvzip,
  buildSurrogate,
  buildRecord,
  service,
  storedBytes,
  residency,
  churn,
  ...longContexts,
];
