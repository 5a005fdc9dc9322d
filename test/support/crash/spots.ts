/** The spots at which crash tests inject faults, and helpers that choose and name them. */
import assert from "node:assert/strict";
import { type CrashPoint, crashPoints } from "../../../src/core/operation/index.ts";

/** Where a fault is injected: a crash point, and which visit of it within one operation. */
export interface Spot {
  readonly point: CrashPoint;
  readonly visit: number;
}

/** What DAVIT_FAULTS can do at a spot. */
export type FaultAction = "kill" | "throw" | "hang";

/** How often a stage is entered in one operation, if that is not once. */
const visitsOf: Partial<Readonly<Record<CrashPoint, number>>> = {
  // Plugins of the test network: bridge and portmap.
  "run-pod-sandbox/network-plugin-done": 2,
  "stop-pod-sandbox/network-plugin-done": 2,
  // The layers that only a test's image has.
  "pull-layer/publish": 2,
  "pull-layer/answer": 2,
  "remove-image/remove-layer": 2,
};

/** Who makes a pod's sandbox. */
type Controller = "podsandbox" | "shim";

/** The stages that only one controller has. */
const controllerOf: Partial<Readonly<Record<CrashPoint, Controller>>> = {
  "run-pod-sandbox/make-directories": "podsandbox",
  "run-pod-sandbox/start-holder": "podsandbox",
  "run-pod-sandbox/write-sysctls": "podsandbox",
  "run-pod-sandbox/start-shim": "shim",
  "run-pod-sandbox/create-sandbox": "shim",
  "run-pod-sandbox/start-sandbox": "shim",
};

/** The stages that are entered only while plugins are connected; nri-crash.test.ts tests them. */
export const pluginPoints: readonly CrashPoint[] = crashPoints.filter((point) =>
  /\/(ask|tell)-plugins$/.test(point),
);

/** The stages that are entered only where images are verified; the engine's verification.test.ts tests them. */
export const policyPoints: readonly CrashPoint[] = crashPoints.filter((point) =>
  point.endsWith("/verify-image"),
);

/** The stages of pods whose egress is limited; egress.test.ts tests them. */
export const egressPoints: readonly CrashPoint[] = crashPoints.filter((point) =>
  point.endsWith("/limit-egress"),
);

/** The stages of checkpoints and of what continues from them; crash-checkpoints.test.ts tests them. */
export const checkpointPoints: readonly CrashPoint[] = crashPoints.filter((point) =>
  /^(checkpoint-container|checkpoint-pod|restore-pod|import-snapshot)\/|\/(open-checkpoint|copy-log)$/.test(
    point,
  ),
);

/** The crash points that the sandboxes of this controller reach, without plugins, policies and limits of egress. */
export function pointsOf(controller: Controller): readonly CrashPoint[] {
  const others = new Set([...pluginPoints, ...policyPoints, ...egressPoints, ...checkpointPoints]);
  return crashPoints.filter(
    (point) => (controllerOf[point] ?? controller) === controller && !others.has(point),
  );
}

/** All spots of one operation, in order. */
export function spotsOf(operation: string, controller: Controller = "podsandbox"): readonly Spot[] {
  return pointsOf(controller)
    .filter((point) => point.startsWith(`${operation}/`))
    .flatMap((point) => {
      return Array.from({ length: visitsOf[point] ?? 1 }, (_, at) => ({ point, visit: at + 1 }));
    });
}

/** The spots at these stages. Throws if a stage has none, so that a test cannot lose its cases by a new name. */
export function atStages(spots: readonly Spot[], ...names: readonly string[]): readonly Spot[] {
  for (const name of names) {
    const found = spots.some(({ point }) => stageOf(point) === name);
    assert.ok(found, `no crash point is at stage "${name}"`);
  }
  return spots.filter(({ point }) => names.includes(stageOf(point)));
}

/** A fault as DAVIT_FAULTS has it. */
export function faultAt({ point, visit }: Spot, action: FaultAction): string {
  return `${point}=${action}@${visit}`;
}

/** The stage of a point, as errors name it. */
export function stageOf(point: CrashPoint): string {
  return point.slice(point.indexOf("/") + 1);
}

/** The name of a spot in test names. */
export function nameOf({ point, visit }: Spot): string {
  return visit === 1 ? point : `${point}@${visit}`;
}

/** The items of a list in turn, so that neighbours differ. */
export function turn<T>(list: readonly T[], at: number): T {
  const item = list[at % list.length];
  assert.ok(item !== undefined);
  return item;
}
