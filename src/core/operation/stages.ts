/**
 * Every stage of every operation, in the order in which it is entered.
 *
 * A stage is one name for three things: the position that a deadline error reports, what `Status`
 * shows of an operation in progress, and a point at which a test can make the operation fail, hang
 * or lose its daemon. A step without a stage can neither be explained nor crash-tested, so add it
 * here first.
 *
 * The list is one although drivers enter many of the stages: an operation runs through the engine
 * and several drivers, the crash tests walk it from its first stage to its last, and both
 * implementations of a port enter the same stages. The comments say who enters those below them,
 * up to the next comment. Without one it is the engine.
 */
export const stages = {
  "run-pod-sandbox": [
    "write-record",
    "prepare-cgroup",
    // SandboxController.create(); only podsandbox has make-directories.
    "make-directories",
    "pin-namespaces",
    // The engine and PodNetwork.add(), which enters network-plugin-done after each plugin.
    "write-network-record",
    "add-network",
    "network-plugin-done",
    "network-added",
    // SandboxController.start().
    "make-files",
    // SandboxController.start() of podsandbox.
    "start-holder",
    "write-sysctls",
    // SandboxController.start() of shims.
    "start-shim",
    "create-sandbox",
    "start-sandbox",
    // The engine. Only for pods with the annotation davit.egress.
    "limit-egress",
    // Only while plugins of the node (NRI) are connected, here and below.
    "ask-plugins",
    "finish-record",
    "answer",
  ],
  "stop-pod-sandbox": [
    "end-processes",
    "tell-plugins",
    "remove-network",
    "network-plugin-done",
    "network-removed",
    "close-namespaces",
    "write-record",
    "answer",
  ],
  "remove-pod-sandbox": ["stop", "shut-down", "tell-plugins", "delete-record", "answer"],
  "update-pod-sandbox-resources": [
    "ask-plugins",
    "write-limits",
    "update-controller",
    "write-record",
    "tell-plugins",
    "answer",
  ],
  "create-container": [
    // Only for a container that continues from an archive of a checkpoint.
    "open-checkpoint",
    // Only while images are verified, here and below.
    "verify-image",
    "write-record",
    // Roots.mount().
    "make-root-directory",
    "mount-root",
    // The engine.
    "mount-images",
    "copy-volumes",
    "resolve-user",
    "prepare-spec",
    "ask-plugins",
    // Only for a container that continues from an archive of a checkpoint.
    "copy-log",
    "finish-record",
    "tell-plugins",
    "answer",
  ],
  "start-container": [
    "verify-image",
    "build-spec",
    // ContainerRuntime.start().
    "make-bundle",
    "write-bundle",
    "start-monitor",
    "create-process",
    // The engine, called by the runtime.
    "ask-plugins",
    // ContainerRuntime.start().
    "mark-start",
    "start-process",
    // The engine.
    "finish-record",
    "tell-plugins",
    "answer",
  ],
  "stop-container": ["send-signal", "wait-for-end", "kill-all", "wait-for-exit", "answer"],
  "remove-container": [
    "stop",
    "tell-plugins",
    "remove-runtime-state",
    // ContainerRuntime.remove().
    "remove-files",
    // Roots.remove().
    "unmount-root",
    "unmount-images",
    "delete-root",
    // The engine.
    "delete-record",
    "answer",
  ],
  "update-container-resources": [
    "ask-plugins",
    "write-limits",
    "write-record",
    "tell-plugins",
    "answer",
  ],
  "checkpoint-container": [
    "make-directory",
    "pause",
    "capture-memory",
    "capture-files",
    "resume",
    "write-archive",
    "answer",
  ],
  "checkpoint-pod": [
    "make-directories",
    "pause",
    // Once for each container, here and below.
    "capture-memory",
    "capture-files",
    "resume",
    "write-manifest",
    "answer",
  ],
  // The creates of its sandbox and containers are operations of their own.
  "restore-pod": [
    "open-checkpoint",
    "run-sandbox",
    // Once for each container.
    "create-containers",
    "finish-record",
    "answer",
  ],
  // Once for each container, up to reclaim-memory.
  pause: ["write-record", "freeze", "reclaim-memory", "answer"],
  resume: ["thaw", "write-record", "answer"],
  "exec-sync": [
    "build-spec",
    // ContainerRuntime.execSync().
    "write-spec",
    "make-cgroup",
    "start-process",
    "wait-for-end",
    "drain-output",
    "kill-command",
    // The engine.
    "answer",
  ],
  exec: [
    "build-spec",
    // ContainerRuntime.exec().
    "write-spec",
    "make-cgroup",
    "start-process",
    "wait-for-end",
    "drain-output",
    "kill-command",
    // The engine.
    "answer",
  ],
  // ContainerRuntime.attach() enters all but the last.
  attach: ["connect", "wait-for-end", "answer"],
  "port-forward": ["connect", "answer"],
  // ContainerRuntime.reopenLog(), but not that of shims. Nothing may fail after the log has its name: the caller of a
  // rotation that failed gives that name to the old file again.
  "reopen-log": ["hand-over-log", "publish-log"],
  "pull-image": [
    "resolve",
    "verify-image",
    "fetch-config",
    "fetch-layers",
    "complete-layers",
    "write-record",
    "answer",
  ],
  "pull-layer": [
    "open-blob",
    // Layers.unpack().
    "make-directory",
    "unpack",
    "publish",
    // The engine.
    "answer",
  ],
  "load-image": ["read-config", "unpack-layers", "complete-layers", "write-record", "answer"],
  "remove-image": ["delete-record", "remove-layer", "answer"],
  // Snapshots.import() enters all but the last.
  "import-snapshot": ["unpack-archive", "check-files", "publish", "answer"],
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
    "reattach",
    "end-orphans",
    "sweep-roots",
    "sweep-layers",
    "ready",
  ],
} as const;

/** The operations that have stages. */
export type OperationName = keyof typeof stages;

/** The stages of one operation, or of all. */
export type Stage<Name extends OperationName = OperationName> = (typeof stages)[Name][number];

/** A point at which a fault can be injected: `operation/stage`. */
export type CrashPoint = { [Name in OperationName]: `${Name}/${Stage<Name>}` }[OperationName];

/** All points at which a fault can be injected, in order. */
export const crashPoints: readonly CrashPoint[] = Object.entries(stages).flatMap(([name, list]) =>
  list.map((stage) => `${name}/${stage}` as CrashPoint),
);
