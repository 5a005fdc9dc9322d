// Runtime handlers: what a RuntimeClass names, and what is configured and known of it. Imports nothing.
// Start with handler.ts.
export type {
  BoundHandler,
  HandlerFeatures,
  HandlerSettings,
  Handlers,
  RuntimeFeatures,
} from "./handler.ts";
