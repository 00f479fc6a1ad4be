/**
 * Engines for tests: real processes that run models of no weights.
 *
 * @module
 */
export { buildRequest } from "./build-request.ts";
export { spawnToyEngine } from "./spawn-toy-engine.ts";
export { toyAnswerPrefix } from "./toy-oracle.ts";
export { toyBuild, toyLoad, toyQuery } from "./toy-requests.ts";
export { TOY_CONFIG, TOY_IDENTITY } from "./toy-runner.ts";
