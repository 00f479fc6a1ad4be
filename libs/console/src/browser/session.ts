/**
 * What a tab remembers, and forgets when it is closed: the token, and the texts of contexts made in
 * it, since no server keeps those.
 *
 * @module
 */
const TOKEN = "kvault.token";
const TEXT = "kvault.text.";

/** Texts that did not fit into the session's storage. */
const unsaved = new Map<string, string>();

export function token(): string | undefined {
  return sessionStorage.getItem(TOKEN) ?? undefined;
}

export function setToken(value: string | undefined): void {
  if (value === undefined) sessionStorage.removeItem(TOKEN);
  else sessionStorage.setItem(TOKEN, value);
}

export function textOf(context: string): string | undefined {
  return unsaved.get(context) ?? sessionStorage.getItem(`${TEXT}${context}`) ?? undefined;
}

export function rememberText(context: string, text: string): void {
  try {
    sessionStorage.setItem(`${TEXT}${context}`, text);
  } catch {
    unsaved.set(context, text);
  }
}

/** Token and texts: nothing of one user is left for the next. */
export function forgetAll(): void {
  sessionStorage.clear();
  unsaved.clear();
}
