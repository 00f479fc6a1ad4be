/**
 * The public API of KVault: contexts, inference, models, operations. Starts in any process.
 *
 * @module
 */
export { type GatewayOptions, type RunningGateway, startGateway } from "./start-gateway.ts";
