/**
 * What every page of the console is given, and how it waits. A page owns its part of the document
 * until `signal` aborts; whatever it started ends then.
 *
 * @module
 */
export interface View {
  readonly root: HTMLElement;
  /** Aborts when the page is left. */
  readonly signal: AbortSignal;
  /** What follows the page's name in the address. */
  readonly params: readonly string[];
  /** Said to those who listen instead of look. */
  announce(text: string): void;
  /** An error nobody on the page handles: without a token, the sign-in page. True when it was taken. */
  handled(error: unknown): boolean;
}

/** Resolves after `ms`, or when `signal` aborts. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end, { once: true });
  });
}

/** Does `look` every `ms` while the page is open; a hidden tab asks for nothing. */
export async function poll(ms: number, signal: AbortSignal, look: () => Promise<void>): Promise<void> {
  while (!signal.aborted) {
    if (document.visibilityState === "visible") await look();
    await pause(ms, signal);
  }
}
