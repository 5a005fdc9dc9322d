/**
 * Every stage of every operation, in the order in which it is entered.
 *
 * A stage is one name for three things: what a deadline error blames, what `Status` shows of a
 * request in flight, and where a test can make the operation throw, hang or lose its daemon. So
 * a step that has no stage can be neither explained nor crash-tested; add it here first.
 */
export const stages = {
  "run-pod-sandbox": [
    "reserve-name",
    "write-record",
    "prepare-cgroup",
    "make-directories",
    "pin-namespaces",
    "write-network-record",
    "add-network",
    "network-plugin-done",
    "network-added",
    "make-files",
    // Of the podsandbox controller.
    "start-holder",
    "write-sysctls",
    // Of the shim controller.
    "start-shim",
    "create-sandbox",
    "start-sandbox",
    "finish-record",
    "answer",
  ],
  "stop-pod-sandbox": [
    "end-processes",
    "remove-network",
    "network-plugin-done",
    "network-removed",
    "close-namespaces",
    "write-record",
    "answer",
  ],
  "remove-pod-sandbox": ["stop", "shut-down", "delete-record", "answer"],
  "update-pod-sandbox-resources": ["write-limits", "tell-controller", "write-record", "answer"],
  "create-container": [
    "reserve-name",
    "write-record",
    "make-root-directory",
    "mount-root",
    "mount-images",
    "copy-volumes",
    "resolve-user",
    "prepare-spec",
    "finish-record",
    "answer",
  ],
  "start-container": [
    "build-spec",
    "make-bundle",
    "write-bundle",
    "start-monitor",
    "create-process",
    "mark-start",
    "start-process",
    "finish-record",
    "answer",
  ],
  "stop-container": ["send-signal", "wait-for-end", "kill-all", "wait-for-exit", "answer"],
  "remove-container": [
    "stop",
    "remove-runtime-state",
    "remove-files",
    "unmount-root",
    "unmount-images",
    "delete-root",
    "delete-record",
    "answer",
  ],
  "update-container-resources": ["write-limits", "write-record", "answer"],
  "exec-sync": [
    "build-spec",
    "write-spec",
    "make-cgroup",
    "start-process",
    "wait-for-end",
    "drain-output",
    "kill-command",
    "answer",
  ],
  exec: [
    "build-spec",
    "write-spec",
    "make-cgroup",
    "start-process",
    "wait-for-end",
    "drain-output",
    "kill-command",
    "answer",
  ],
  attach: ["connect", "wait-for-end", "answer"],
  "port-forward": ["connect", "answer"],
  "pull-image": [
    "resolve",
    "fetch-config",
    "fetch-layers",
    "complete-layers",
    "write-record",
    "answer",
  ],
  "pull-layer": ["open-blob", "make-directory", "unpack", "publish", "answer"],
  "remove-image": ["delete-record", "remove-layer", "answer"],
  recover: [
    "read-records",
    "load-sandboxes",
    "tear-down-half-built",
    "sweep-orphans",
    "resume-network-teardown",
    "ready",
  ],
  "recover-containers": [
    "read-records",
    "take-up",
    "end-orphans",
    "sweep-roots",
    "sweep-layers",
    "ready",
  ],
} as const;

/** The operations that have stages. */
export type OperationName = keyof typeof stages;

/** The stages of one operation, or of any. */
export type Stage<Name extends OperationName = OperationName> = (typeof stages)[Name][number];

/** A place where a fault can be injected: `operation/stage`. */
export type CrashPoint = { [Name in OperationName]: `${Name}/${Stage<Name>}` }[OperationName];

/** All places where a fault can be injected, in order. */
export const crashPoints: readonly CrashPoint[] = Object.entries(stages).flatMap(([name, list]) =>
  list.map((stage) => `${name}/${stage}` as CrashPoint),
);
