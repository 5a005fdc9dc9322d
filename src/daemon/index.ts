// The composition root and the life cycle of the process. It may import every other layer. Start reading
// with run.ts, then build.ts, which alone chooses a driver for each interface.
export type { ControllerParts } from "./build/build.ts";
export type { Daemon, DaemonOptions } from "./process/run.ts";
export { runDaemon } from "./process/run.ts";
export { publishEvent } from "./process/publish-event.ts";
