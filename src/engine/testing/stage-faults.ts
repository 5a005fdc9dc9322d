import { RuntimeError } from "../../base/errors.ts";
import type { CrashPoint, Faults } from "../../core/operation/index.ts";
import { type Hang, Trouble } from "./trouble.ts";

/** Faults at the stages of operations, and which stages were reached. */
export class StageFaults implements Faults {
  readonly #trouble = new Trouble<CrashPoint>();
  readonly reached = new Set<CrashPoint>();

  /** Makes the operation fail when it enters this stage. */
  fail(point: CrashPoint): void {
    this.#trouble.fail(point, new RuntimeError("internal", `fault at ${point}`));
  }

  /** Makes the operation hang in this stage, until it is aborted or released. */
  hang(point: CrashPoint): Hang {
    return this.#trouble.hang(point);
  }

  heal(point: CrashPoint): void {
    this.#trouble.heal(point);
  }

  releaseAll(): void {
    this.#trouble.releaseAll();
  }

  at(point: CrashPoint, signal: AbortSignal): Promise<void> | undefined {
    this.reached.add(point);
    return this.#trouble.at(point, signal);
  }
}
