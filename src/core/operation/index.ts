// Operations: what a request does while it runs, stage by stage. Imports only base. Start with
// stages.ts, the list of everything that an operation can be doing.
export type { PastOperation, StageMark } from "./history.ts";
export type { Faults, Operation, OperationView } from "./operation.ts";
export { noFaults, Operations, RunningOperation } from "./operation.ts";
export type { CrashPoint, OperationName, Stage } from "./stages.ts";
export { crashPoints, stages } from "./stages.ts";
