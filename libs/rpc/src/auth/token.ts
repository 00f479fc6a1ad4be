/**
 * API tokens: `kvt_<id>_<secret>`. The id is public (logs, lists, revocation); the secret has 256
 * random bits, so that a plain SHA-256 of the whole token is all that needs to be kept: there is
 * nothing to guess that a slow hash would have to protect.
 *
 * @module
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

const ID_BYTES = 8;
const SECRET_BYTES = 32;
const TOKEN = /^kvt_(?<id>[0-9a-f]{16})_[A-Za-z0-9_-]{43}$/;

export interface NewToken {
  readonly id: string;
  /** Shown once and kept nowhere. */
  readonly token: string;
  /** Hex; what is kept. */
  readonly sha256: string;
}

export function createToken(): NewToken {
  const id = randomBytes(ID_BYTES).toString("hex");
  const token = `kvt_${id}_${randomBytes(SECRET_BYTES).toString("base64url")}`;
  return { id, token, sha256: hash(token).toString("hex") };
}

/** Public part of a token; undefined for what is none. */
export function tokenIdOf(token: string): string | undefined {
  return TOKEN.exec(token)?.groups?.["id"];
}

/** Whether `sha256` is `token`'s, in a time that does not depend on where they differ. */
export function matchesToken(token: string, sha256: string): boolean {
  return timingSafeEqual(hash(token), Buffer.from(sha256, "hex"));
}

function hash(token: string): Buffer {
  return createHash("sha256").update("kvault.token/1\0").update(token).digest();
}
