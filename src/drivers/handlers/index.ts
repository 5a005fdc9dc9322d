// The handlers of the configuration, and what their OCI runtimes can do. Implements core/handler.
export { ConfiguredHandlers, type HandlerDefinition } from "./configured-handlers.ts";
