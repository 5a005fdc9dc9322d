// The composition root and the life of the process. Imports everything below. Start with run.ts,
// then build.ts, the only place that says which driver stands behind which interface.
export type { ControllerParts } from "./build/build.ts";
export type { Daemon, DaemonOptions } from "./process/run.ts";
export { runDaemon } from "./process/run.ts";
export { publishEvent } from "./process/publish-event.ts";
