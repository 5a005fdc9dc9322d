// The network attachments of pods and their removal. Start reading with teardown.ts.
export { Attachments } from "./attachments.ts";
export type { CollectDeps } from "./collect.ts";
export { collectGarbage } from "./collect.ts";
export type { PendingTeardown, TeardownPatience } from "./teardown.ts";
export { defaultPatience, NetworkTeardown } from "./teardown.ts";
