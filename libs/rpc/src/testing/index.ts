export { type Echo, echoService } from "./echo-service.ts";
