// The names of NRI's enums by their numbers, which are those of the runtime-spec too. As text, so that the messages of NRI
// are loaded only where there are plugins; a test compares them.

/** LinuxSchedulerPolicy. */
export const policies = [
  ...["SCHED_NONE", "SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO"],
  ...["SCHED_IDLE", "SCHED_DEADLINE"],
];

/** LinuxSchedulerFlag. */
export const policyFlags = [
  ...["RESET_ON_FORK", "RECLAIM", "DL_OVERRUN", "KEEP_POLICY", "KEEP_PARAMS"],
  ...["UTIL_CLAMP_MIN", "UTIL_CLAMP_MAX"],
].map((name) => `SCHED_FLAG_${name}`);

/** IOPrioClass. */
export const ioClasses = ["NONE", "RT", "BE", "IDLE"].map((name) => `IOPRIO_CLASS_${name}`);

/** MpolMode. */
export const memoryModes = [
  ...["DEFAULT", "PREFERRED", "BIND", "INTERLEAVE", "LOCAL", "PREFERRED_MANY"],
  "WEIGHTED_INTERLEAVE",
].map((name) => `MPOL_${name}`);

/** MpolFlag. */
export const memoryFlags = ["STATIC_NODES", "RELATIVE_NODES", "NUMA_BALANCING"].map(
  (name) => `MPOL_F_${name}`,
);
