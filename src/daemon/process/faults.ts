import { RuntimeError } from "../../base/errors.ts";
import { type CrashPoint, crashPoints, type Faults, noFaults } from "../../core/operation/index.ts";

type Action = "kill" | "throw" | "hang";

interface Fault {
  readonly point: CrashPoint;
  readonly action: Action;
  /** The visit of the point at which the fault happens, counted from 1. */
  readonly visit: number;
}

/**
 * The faults that a test requests in the environment variable DAVIT_FAULTS:
 * `run-pod-sandbox/add-network=kill`, several with commas, `=throw@2` for the second visit.
 * Without the variable no point is checked.
 */
export function faultsFromEnvironment(text: string | undefined): Faults {
  if (text === undefined || text === "") return noFaults;
  const faults = text.split(",").map(parseFault);
  const visits = new Map<CrashPoint, number>();
  return {
    at: (point, signal) => {
      const visit = (visits.get(point) ?? 0) + 1;
      visits.set(point, visit);
      const fault = faults.find(
        (candidate) => candidate.point === point && candidate.visit === visit,
      );
      return fault === undefined ? undefined : strike(fault, signal);
    },
  };
}

function parseFault(text: string): Fault {
  const match = /^([a-z/-]+)=(kill|throw|hang)(?:@(\d+))?$/.exec(text);
  const point = crashPoints.find((candidate) => candidate === match?.[1]);
  if (match === null || point === undefined) {
    throw new RuntimeError(
      "invalid-argument",
      `read DAVIT_FAULTS: each fault must be POINT=kill|throw|hang[@VISIT] with a known point; it is "${text}"`,
    );
  }
  return { point, action: match[2] as Action, visit: Number(match[3] ?? 1) };
}

async function strike(fault: Fault, signal: AbortSignal): Promise<void> {
  switch (fault.action) {
    case "kill":
      // What a power cut or the OOM killer does: no handler runs, nothing is flushed.
      process.kill(process.pid, "SIGKILL");
      await new Promise(() => undefined);
      return;
    case "throw":
      throw new RuntimeError("internal", `a fault was injected at ${fault.point}`);
    case "hang":
      await new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => {
          reject(signal.reason as Error);
        });
      });
  }
}
