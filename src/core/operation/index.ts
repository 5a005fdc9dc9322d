// Operations: requests in progress and their stages. Imports only base. Start reading with stages.ts, the
// list of all stages.
export { explainsState } from "./history.ts";
export type { HistoryEntry, PastOperation, PodName, StageMark, Transfer } from "./history.ts";
export type { Faults, Operation, OperationObserver, OperationView } from "./operation.ts";
export { noFaults, Operations, RunningOperation } from "./operation.ts";
export { endingStep, type Step, type StepEnd, type StepObserver } from "./steps.ts";
export type { CrashPoint, OperationName, Stage } from "./stages.ts";
export { crashPoints, stages } from "./stages.ts";
