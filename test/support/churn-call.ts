/**
 * One call of a troubled kubelet: with a short deadline, cancelled, sent twice, or at the same time as a stop or
 * removal by another client; and the answers that it may get.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { CallOptions } from "../../src/client/cri-client.ts";
import { type ErrorKind, kindOf, messageOf } from "../../src/base/errors.ts";
import type { Random } from "./random.ts";

/**
 * The errors that a kubelet handles with a retry, and why. `internal` and `unknown` are not among them: they say
 * that something is broken, and a retry does not help.
 */
export const retryable = {
  canceled: "the caller went away itself",
  "deadline-exceeded": "the caller's own deadline; the retry joins the create or finds its result",
  unavailable: "an unfinished object of this name is being removed: the name is free soon",
  "already-exists": "the answer to an earlier try got lost: the list has the object, by its name",
  "failed-precondition": "the sandbox or container is in another state than thought: look again",
  "not-found": "the sandbox or container was removed meanwhile: look again",
  aborted: "a stop or a removal ended this create or start: look again",
} as const satisfies Partial<Record<ErrorKind, string>>;

type Retryable = keyof typeof retryable;

const ownFault = ["canceled", "deadline-exceeded"] as const;
const crossed = ["failed-precondition", "not-found", "aborted"] as const;

/** The errors that each method may return. A kubelet sends the same bytes for the same attempt. */
const allowed = {
  runPodSandbox: [...ownFault, "unavailable", "already-exists"],
  createContainer: [...ownFault, ...crossed, "unavailable", "already-exists"],
  startContainer: [...ownFault, ...crossed],
  execSync: [...ownFault, ...crossed],
  // Idempotent: success for an object that is removed or stopped already.
  stopContainer: ownFault,
  removeContainer: ownFault,
  stopPodSandbox: ownFault,
  removePodSandbox: ownFault,
  // The call is never too early and never in the wrong state, but it can be too late.
  containerStatus: ["not-found"],
  podSandboxStatus: ["not-found"],
  listPodSandbox: [],
  listContainers: [],
  listContainerStats: [],
  listPodSandboxStats: [],
  status: [],
} as const satisfies Record<string, readonly Retryable[]>;

/** The methods that churn calls. */
export type Method = keyof typeof allowed;

/** The trouble of one call. */
export interface Trouble {
  readonly deadlineMs?: number;
  /** The client disconnects after this time. */
  readonly cancelAfterMs?: number;
  /** The same bytes are sent again after this time, without trouble of their own. */
  readonly againAfterMs?: number;
}

/** Half of all calls have no trouble. */
export function chooseTrouble(random: Random): Trouble {
  const deadlineMs = (): number => random.spread(50, 5_000);
  const cancelAfterMs = (): number => random.spread(1, 400);
  const againAfterMs = (): number => random.between(0, 30);
  const dice = random.next();
  if (dice < 0.5) return {};
  if (dice < 0.65) return { deadlineMs: deadlineMs() };
  if (dice < 0.8) return { cancelAfterMs: cancelAfterMs() };
  if (dice < 0.9) return { againAfterMs: againAfterMs() };
  return { cancelAfterMs: cancelAfterMs(), againAfterMs: againAfterMs() };
}

/** Counts the results of calls, and collects violations. */
export class Ledger {
  readonly violations: string[] = [];
  readonly #outcomes = new Map<string, number>();
  #outages = 0;
  #isOutage = false;

  /** How many outages there were, the present one included. */
  get outages(): number {
    return this.#outages;
  }

  isOutage(): boolean {
    return this.#isOutage;
  }

  /** Begins an outage of the daemon, which ends with the returned value. Calls may fail meanwhile. */
  outage(): Disposable {
    this.#outages += 1;
    this.#isOutage = true;
    return {
      [Symbol.dispose]: () => {
        this.#isOutage = false;
      },
    };
  }

  count(method: Method, outcome: ErrorKind | "ok"): void {
    const name = `${method} ${outcome}`;
    this.#outcomes.set(name, (this.#outcomes.get(name) ?? 0) + 1);
  }

  violate(what: string): void {
    this.violations.push(what);
  }

  /** `runPodSandbox: ok 950, canceled 31`, one line a method. */
  summary(): string {
    const lines = Map.groupBy(
      [...this.#outcomes].toSorted(([a], [b]) => a.localeCompare(b)),
      ([name]) => name.split(" ")[0] ?? "",
    );
    return [...lines]
      .map(([method, outcomes]) => {
        const counts = outcomes.map(([name, count]) => `${name.split(" ")[1] ?? ""} ${count}`);
        return `${method}: ${counts.join(", ")}`;
      })
      .join("\n");
  }
}

/** The errors of a call while the daemon ends, is away or starts. */
const awayErrors: readonly ErrorKind[] = [
  "unavailable",
  "canceled",
  "aborted",
  "not-found",
  "failed-precondition",
];

/** Longer than any call takes, also on a busy machine: the timeout of the kubelet. */
const calmMs = 120_000;

/** Makes calls for one pod of the churn, and checks their results. */
export class Caller {
  readonly #ledger: Ledger;
  readonly #who: string;

  constructor(ledger: Ledger, who: string) {
    this.#ledger = ledger;
    this.#who = who;
  }

  violate(what: string): void {
    this.#ledger.violate(`${this.#who}: ${what}`);
  }

  /**
   * Makes a call, once or twice, with this trouble. Returns undefined if it failed with an error that a kubelet
   * handles. Any other error is recorded as a violation.
   */
  async call<T>(
    method: Method,
    send: (options: CallOptions) => Promise<T>,
    trouble: Trouble = {},
  ): Promise<T | undefined> {
    const { againAfterMs, ...first } = trouble;
    const calls = [this.#once(method, send, first)];
    if (againAfterMs !== undefined) {
      calls.push(sleep(againAfterMs).then(() => this.#once(method, send, {})));
    }
    const answers = (await Promise.all(calls)).filter((answer) => answer !== undefined);
    if (method === "runPodSandbox" || method === "createContainer") {
      const ids = new Set(answers.map((answer) => JSON.stringify(answer)));
      if (ids.size > 1) this.violate(`${method} twice made two: ${[...ids].join(" ")}`);
    }
    return answers[0];
  }

  async #once<T>(
    method: Method,
    send: (options: CallOptions) => Promise<T>,
    { deadlineMs, cancelAfterMs }: Trouble,
  ): Promise<T | undefined> {
    const caller = new AbortController();
    const timer =
      cancelAfterMs === undefined ? undefined : setTimeout(() => caller.abort(), cancelAfterMs);
    const { outages } = this.#ledger;
    try {
      const answer = await send({ timeoutMs: deadlineMs ?? calmMs, signal: caller.signal });
      this.#ledger.count(method, "ok");
      return answer;
    } catch (error) {
      const kind = kindOf(error);
      this.#ledger.count(method, kind);
      const wasAway = this.#ledger.isOutage() || this.#ledger.outages !== outages;
      const expected =
        (wasAway && awayErrors.includes(kind)) ||
        ((kind !== "canceled" || caller.signal.aborted) &&
          (kind !== "deadline-exceeded" || deadlineMs !== undefined) &&
          (allowed[method] as readonly ErrorKind[]).includes(kind));
      if (!expected) this.violate(`${method} failed: ${kind}: ${messageOf(error)}`);
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }
}
