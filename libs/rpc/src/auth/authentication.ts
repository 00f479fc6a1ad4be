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

/** Who `token` is. UNAUTHENTICATED when nobody, PERMISSION_DENIED when somebody whose calls are not taken. */
export function checkedPrincipal(
  { authenticate, roles }: ServerAuthentication,
  token: string | undefined,
  path: string,
): Principal {
  const principal = authenticate(token);
  if (principal.role === undefined || !roles.includes(principal.role)) throw wrongRole(principal, path);
  return principal;
}

/** The token in a header that reads `Bearer TOKEN`; undefined in any other. */
export function bearerToken(header: unknown): string | undefined {
  return typeof header === "string" ? BEARER.exec(header)?.groups?.["token"] : undefined;
}

/** For `new Server({ interceptors })`. */
export function authenticationInterceptor(auth: ServerAuthentication): ServerInterceptor {
  return ({ path }, call) => {
    if (path.startsWith(HEALTH)) return new ServerInterceptingCall(call);
    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata(metadata, pass) {
            try {
              principals.set(metadata, checkedPrincipal(auth, bearerToken(metadata.get(AUTHORIZATION_KEY)[0]), path));
            } catch (thrown) {
              const error = toKvaultError(thrown);
              auth.onRefused?.({ path, error });
              call.sendStatus(toGrpcStatus(error));
              return;
            }
            pass(metadata);
          },
        }),
    });
  };
}

function wrongRole({ role, tokenId }: Principal, path: string): KvaultError {
  return new KvaultError("PERMISSION_DENIED", `Cannot call "${path}" with a token of role "${role}"`, {
    details: { role: role ?? "", tokenId },
  });
}
