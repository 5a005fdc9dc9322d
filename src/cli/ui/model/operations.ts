import type { OperationView, PhaseKind } from "../../../page/view.ts";
import {
  type InflightOperation,
  type PastOperation,
  type Phase,
  phasesOf,
} from "../../../client/operations.ts";

/** The names in the subject of an operation: davit's names of pods and containers. */
export interface SubjectNames {
  readonly namespace: string;
  readonly pod: string;
  /** "" for a pod. */
  readonly container: string;
  /** Of the pod. */
  readonly uid: string;
}

/**
 * The names in a subject of the form NAME_NAMESPACE_UID_ATTEMPT or CONTAINER_POD_NAMESPACE_UID_ATTEMPT;
 * undefined for an id, an image, and names that contain the separator.
 */
export function parseSubject(subject: string): SubjectNames | undefined {
  const parts = subject.split("_");
  const [container = "", pod = "", namespace = "", uid = ""] =
    parts.length === 4 ? ["", ...parts] : parts;
  if (parts.length !== 4 && parts.length !== 5) return undefined;
  return { namespace, pod, container, uid };
}

/** An operation for the page. `container` is the name of its container, "" for a pod. */
export function toOperationView(
  operation: PastOperation | InflightOperation,
  container: string,
): OperationView {
  const { startedMs, tookMs, error } = operation;
  return {
    operation: operation.operation,
    container,
    startedMs,
    tookMs,
    running: "detail" in operation,
    error: error === undefined ? undefined : reasonIn(error),
    phases: namedPhases(operation).map((phase) => ({ ...phase, kind: kindOfPhase(phase.name) })),
  };
}

/** The phases of an operation, with a name for the phase after a network plugin. */
export function namedPhases(operation: PastOperation | InflightOperation): readonly Phase[] {
  return phasesOf(operation).map((phase) => ({
    ...phase,
    // The marks name a plugin when it has ended. After one of these comes the next plugin, or nothing.
    name: phase.name === "network plugin done" ? "next network plugin" : phase.name,
  }));
}

/**
 * The reason in an error of davit, without its operation, object and stage, which the page shows besides, and with
 * short ids.
 */
export function reasonIn(error: string): string {
  return error
    .replace(/^[a-z]+(?: [a-z]+){0,3} "[^"]*" \(stage [a-z-]+, \d+ ms\): /, "")
    .replace(/\b([0-9a-f]{12})[0-9a-f]{52}\b/g, "$1");
}

const kinds: Readonly<Record<Exclude<PhaseKind, "other">, RegExp>> = {
  record: /record|^answer$/,
  cgroup: /cgroup|limits/,
  namespace: /namespaces?$|sysctls/,
  network: /network/,
  pull: /^(resolve|verify|fetch)|layers?$|unpack/,
  spec: /spec$|user$/,
  process:
    /process|holder|monitor|shim|sandbox$|start$|signal|wait for|kill|connect|command|controller|shut down|^stop$/,
  files: /files|directory|directories|root|images|volumes|bundle|runtime state/,
};

function kindOfPhase(name: string): PhaseKind {
  if (name === "resolve user") return "spec";
  for (const [kind, pattern] of Object.entries(kinds)) {
    if (pattern.test(name)) return kind as PhaseKind;
  }
  return "other";
}
