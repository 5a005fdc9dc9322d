// The names that the builder accepts, as values: the compiler checks that none is missing.
import type { Hooks } from "../messages.ts";
import type { NamespaceType, RlimitType } from "./inputs.ts";

/** The kinds of OCI hooks. */
export const hookPoints = namesOf<keyof Hooks>({
  prestart: 0,
  createRuntime: 0,
  createContainer: 0,
  startContainer: 0,
  poststart: 0,
  poststop: 0,
});

/** The limits of setrlimit(2). */
export const rlimitTypes = namesOf<RlimitType>({
  RLIMIT_AS: 0,
  RLIMIT_CORE: 0,
  RLIMIT_CPU: 0,
  RLIMIT_DATA: 0,
  RLIMIT_FSIZE: 0,
  RLIMIT_LOCKS: 0,
  RLIMIT_MEMLOCK: 0,
  RLIMIT_MSGQUEUE: 0,
  RLIMIT_NICE: 0,
  RLIMIT_NOFILE: 0,
  RLIMIT_NPROC: 0,
  RLIMIT_RSS: 0,
  RLIMIT_RTPRIO: 0,
  RLIMIT_RTTIME: 0,
  RLIMIT_SIGPENDING: 0,
  RLIMIT_STACK: 0,
});

/** The types of namespaces. */
export const namespaceTypes = namesOf<NamespaceType>({
  pid: 0,
  network: 0,
  mount: 0,
  ipc: 0,
  uts: 0,
  user: 0,
  cgroup: 0,
  time: 0,
});

function namesOf<T extends string>(names: Readonly<Record<T, 0>>): readonly T[] {
  return Object.keys(names) as T[];
}
