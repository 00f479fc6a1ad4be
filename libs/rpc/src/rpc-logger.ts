/**
 * What the servers here write their log to.
 *
 * @module
 */

/** Fields first, then a constant message: what pino's loggers take. */
export interface RpcLogger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
