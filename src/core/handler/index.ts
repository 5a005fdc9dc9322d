// Runtime handlers, to which a RuntimeClass refers: their configuration and their features. Imports
// nothing. Start reading with handler.ts.
export type {
  BoundHandler,
  HandlerFeatures,
  HandlerSettings,
  Handlers,
  OptionalField,
  RuntimeFeatures,
} from "./handler.ts";
