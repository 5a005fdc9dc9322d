// The composition root and the life of the process. Imports everything below. Start with run.ts,
// then build.ts, the only place that says which driver stands behind which interface.
export type { ControllerParts } from "./build.ts";
export type { Daemon, DaemonOptions } from "./run.ts";
export { runDaemon } from "./run.ts";
export { publishEvent } from "./publish-event.ts";
