/**
 * Asks every call for its token before anything of it is read.
 *
 * It sits under grpc-js, not around our handlers: so it covers every service of a server, those
 * that are not ours (reflection) and methods without a handler included, and a stranger's request
 * is refused before a byte of it is decoded. Only health needs no token.
 *
 * @module
 */
import { type Metadata, ServerInterceptingCall, type ServerInterceptor } from "@grpc/grpc-js";
import { KvaultError, toKvaultError } from "@kvault/core";
import { toGrpcStatus } from "../status.ts";
import type { Principal, Role } from "./principal.ts";

/** Metadata key of the token: `authorization: Bearer kvt_…`. */
export const AUTHORIZATION_KEY = "authorization";

const BEARER = /^bearer +(?<token>\S+)$/i;
const HEALTH = "/grpc.health.v1.Health/";

export interface Refusal {
  /** `/package.Service/Method`. */
  readonly path: string;
  readonly error: KvaultError;
}

export interface ServerAuthentication {
  /** The principal of a token; throws UNAUTHENTICATED. */
  readonly authenticate: (token: string | undefined) => Principal;
  /** Whose calls are taken; others are PERMISSION_DENIED. */
  readonly roles: readonly Role[];
  /** Told of every call that was not let in. */
  readonly onRefused?: (refusal: Refusal) => void;
}

/** Who sent this metadata. Theirs alone: it lives as long as the call. */
const principals = new WeakMap<Metadata, Principal>();

/** The principal that the interceptor found for a call; undefined on a server that asks for none. */
export function principalOf(metadata: Metadata): Principal | undefined {
  return principals.get(metadata);
}

/** For `new Server({ interceptors })`. */
export function authenticationInterceptor({ authenticate, roles, onRefused }: ServerAuthentication): ServerInterceptor {
  return ({ path }, call) => {
    if (path.startsWith(HEALTH)) return new ServerInterceptingCall(call);
    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata(metadata, pass) {
            try {
              const principal = authenticate(tokenFrom(metadata));
              if (principal.role === undefined || !roles.includes(principal.role)) throw wrongRole(principal, path);
              principals.set(metadata, principal);
            } catch (thrown) {
              const error = toKvaultError(thrown);
              onRefused?.({ path, error });
              call.sendStatus(toGrpcStatus(error));
              return;
            }
            pass(metadata);
          },
        }),
    });
  };
}

function tokenFrom(metadata: Metadata): string | undefined {
  const [value] = metadata.get(AUTHORIZATION_KEY);
  return typeof value === "string" ? BEARER.exec(value)?.groups?.["token"] : undefined;
}

function wrongRole({ role, tokenId }: Principal, path: string): KvaultError {
  return new KvaultError("PERMISSION_DENIED", `Cannot call "${path}" with a token of role "${role}"`, {
    details: { role: role ?? "", tokenId },
  });
}
