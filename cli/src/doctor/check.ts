/**
 * One thing that a set-up needs, looked at: what was found, and what to do when it is wrong.
 *
 * @module
 */
import { toKvaultError } from "@kvault/core";

export interface Finding {
  readonly status: "ok" | "warning" | "failed";
  readonly found: string;
  /** What to do; empty when nothing is. */
  readonly todo: string;
}

export interface NamedFinding extends Finding {
  readonly name: string;
}

export interface Check {
  readonly name: string;
  /** What to do when it fails without saying so itself. */
  readonly todo: string;
  run(signal: AbortSignal): Promise<Finding>;
}

/** No check takes longer. */
const CHECK_MS = 10_000;

export const ok = (found: string): Finding => ({ status: "ok", found, todo: "" });
export const warning = (found: string, todo: string): Finding => ({ status: "warning", found, todo });
export const failed = (found: string, todo: string): Finding => ({ status: "failed", found, todo });

/** What came of a check; never rejects, never waits for long. */
export async function look({ name, todo, run }: Check, checkMs: number = CHECK_MS): Promise<NamedFinding> {
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Finding>((resolve) => {
    timer = setTimeout(() => {
      controller.abort();
      resolve(failed(`no answer in ${checkMs / 1_000} s`, todo));
    }, checkMs);
  });
  const finding = await Promise.race([run(controller.signal), late]).catch((error: unknown) => {
    const { code, message } = toKvaultError(error);
    return failed(code === "INTERNAL" && error instanceof Error ? error.message : message, todo);
  });
  clearTimeout(timer);
  return { name, ...finding };
}
