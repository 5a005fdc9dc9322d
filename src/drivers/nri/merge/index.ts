// What the plugins of the node (NRI) answer, merged into one result: who owns which field, which answers
// contradict each other, and what each plugin is shown of those before it. Pure values without I/O.
// Start with create.ts.
export { CreateResult } from "./create.ts";
export { StopResult, UpdateResult } from "./update.ts";
export type { ValidatorSettings } from "./validator.ts";
export { defaultValidator } from "./validator.ts";
