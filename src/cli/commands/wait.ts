import { setTimeout as sleep } from "node:timers/promises";
import { isKind } from "../../base/errors.ts";
import { maxTimerMs } from "../../base/time.ts";
import { valueWithin } from "../../base/wait.ts";
import type { CallOptions } from "../../client/cri-client.ts";
import { watchChanges } from "../../client/events.ts";
import type { ContainerStatus } from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { containerPath, podPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { type Found, pick } from "../objects/pick.ts";
import { WatchedStates } from "../objects/watched.ts";
import { conditions, type Condition, isMet, type Target } from "../objects/wait-condition.ts";
import { printable } from "../output/printable.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";
import { typeOption } from "./stop.ts";

/** The timeout of a single request. */
const requestMs = 10_000;
/** Between two attempts to reach a server that restarts. */
const retryMs = 500;

/** `davit wait`. */
export const wait: Command = {
  name: "wait",
  section: "Pods and containers",
  summary: "Wait for pods or containers to end, run, become ready or be removed",
  details:
    "Prints the exit code of each container that has ended: a line for each, in the order of the operands;\n" +
    "for a pod, a line for each of its containers, oldest first, with its name. davit wait itself exits with\n" +
    "0 then, as docker wait does. A pod has ended when all of its containers have exited, or when it is not\n" +
    "ready and none of them runs. It is running when all of its containers run, except completed init\n" +
    "containers. Waits for the pods and containers that exist when it begins, also while davit restarts. An\n" +
    "object that does not exist counts as removed; for other conditions the exit code is 3 then. If a\n" +
    "condition cannot hold any more, the exit code is 1. The CRI does not mark init containers: while kubelet\n" +
    "still starts a pod, all containers that exist may have exited before the next one is created.",
  operands: [{ name: "POD|CONTAINER", many: true, complete: "pod-or-container" }],
  options: {
    for: {
      value: "CONDITION",
      doc: "What to wait for (default ended); ready is for pods only",
      complete: conditions,
    },
    timeout: { value: "TIME", doc: "Exit with code 124 after this time (90s, 5m)" },
    type: typeOption,
  },
  examples: [
    { line: "davit wait job/main", does: "Wait for a container and print its exit code" },
    { line: "davit wait --for running --timeout 30s web", does: "Wait until a pod runs" },
    { line: "davit wait --for removed web api", does: "Wait until two pods are removed" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => waitFor(call, server)),
};

async function waitFor(call: Call, server: Server): Promise<number> {
  const text = call.options.text("for");
  const condition = conditions.find((each) => each === text) ?? "ended";
  const timeoutMs = call.options.durationMs("timeout") ?? maxTimerMs;
  // A timer cannot be longer than 24 days.
  const deadline = timeoutMs < maxTimerMs ? AbortSignal.timeout(timeoutMs) : undefined;
  const signal =
    deadline === undefined ? server.signal : AbortSignal.any([server.signal, deadline]);
  const targets = await findTargets(call, new Objects(server), condition);
  const states = new WatchedStates({
    podIds: new Set(targets.filter(({ kind }) => kind === "pod").map(({ id }) => id)),
    containerIds: new Set(targets.filter(({ kind }) => kind === "container").map(({ id }) => id)),
  });
  const pending = new Set(targets);
  try {
    await untilMet(condition, pending, states, { call, server, signal });
  } catch (error) {
    if (deadline?.aborted !== true || server.signal.aborted) throw error;
    throw timeoutError(condition, pending, call.options.text("timeout") ?? "");
  }
  return condition === "ended" ? printCodes(call, targets, states) : exitCode.done;
}

/** The objects of the operands. An object that does not exist is left out if its removal is waited for. */
async function findTargets(
  call: Call,
  objects: Objects,
  condition: Condition,
): Promise<readonly Target[]> {
  const type = call.options.text("type");
  const kinds = (["pod", "container"] as const).filter(
    (kind) => (type === undefined || type === kind) && (condition !== "ready" || kind === "pod"),
  );
  if (kinds.length === 0) {
    throw call.options.invalid("for", `is "ready": only pods have it; use --for running`);
  }
  const targets: Target[] = [];
  for (const word of new Set(call.operands)) {
    try {
      targets.push(targetOf(await pick(word, kinds, objects)));
    } catch (error) {
      const isMissing = error instanceof CommandFailure && /: not found/.test(error.message);
      if (condition !== "removed" || !isMissing) throw error;
    }
  }
  return targets;
}

function targetOf(found: Found): Target {
  switch (found.kind) {
    case "pod":
      return { kind: "pod", id: found.pod.id, path: podPath(found.pod) };
    case "container":
      return { kind: "container", id: found.container.id, path: containerPath(found) };
    case "image":
      throw new TypeError("pick() returned another kind");
  }
}

interface Waiting {
  readonly call: Call;
  readonly server: Server;
  readonly signal: AbortSignal;
}

/**
 * Waits until the condition has been met by each of the targets, and deletes those that have. Of targets
 * that have ended, the exit codes are known then, as far as the server tells them.
 */
async function untilMet(
  condition: Condition,
  pending: Set<Target>,
  states: WatchedStates,
  waiting: Waiting,
): Promise<void> {
  const { server, signal } = waiting;
  const look = new Looker(states, waiting);
  const targets = [...pending];
  const done = new AbortController();
  const watched = { signal: AbortSignal.any([signal, done.signal]), intervalMs: retryMs };
  const watch = watchChanges(server.client, watched);
  try {
    while (pending.size > 0) {
      const { value: news } = await watch.next();
      if (news?.kind === "event") states.apply(news.event);
      else await look.now();
      for (const target of pending) {
        if (isMet(condition, target, states)) pending.delete(target);
      }
    }
    // A list without a removed container can be faster than the event with its exit code.
    const until = Date.now() + retryMs;
    while (condition === "ended" && endsOf(targets, states).some(({ end }) => end === undefined)) {
      const step = await valueWithin(watch.next(), Math.max(0, until - Date.now()), signal);
      if (step === undefined) break;
      if (step.value?.kind === "event") states.apply(step.value.event);
    }
  } finally {
    done.abort();
  }
}

/** Looks at the states of a server, which may restart meanwhile. */
class Looker {
  readonly #states: WatchedStates;
  readonly #waiting: Waiting;
  #hasLooked = false;
  #wasTold = false;

  constructor(states: WatchedStates, waiting: Waiting) {
    this.#states = states;
    this.#waiting = waiting;
  }

  /** Fails only if the first call does; later it waits until the server is reachable again. */
  async now(): Promise<void> {
    const { server, signal } = this.#waiting;
    const options: CallOptions = { signal, timeoutMs: requestMs };
    for (;;) {
      try {
        await doing("list pods and containers", this.#states.look(server.client, options));
        this.#hasLooked = true;
        return;
      } catch (error) {
        signal.throwIfAborted();
        const isLater = isKind(error, "unavailable") || isKind(error, "deadline-exceeded");
        if (!this.#hasLooked || !isLater) throw error;
        this.#tell();
      }
      await sleep(retryMs, undefined, { signal });
    }
  }

  #tell(): void {
    if (this.#wasTold) return;
    this.#wasTold = true;
    const { terminal } = this.#waiting.call;
    terminal.err(
      `${terminal.errStyle.dim("davit: waiting for the server to be reachable again")}\n`,
    );
  }
}

const infinitives = {
  ended: "end",
  running: "run",
  ready: "be ready",
  removed: "be removed",
} as const satisfies Record<Condition, string>;

function timeoutError(
  condition: Condition,
  pending: ReadonlySet<Target>,
  timeout: string,
): CommandFailure {
  const names = [...pending].map(({ kind, path }) => `${kind} "${path}"`).join(", ");
  return new CommandFailure(
    exitCode.timeout,
    `wait for ${names} to ${infinitives[condition]}: timeout after ${timeout}; "davit why" explains the state`,
  );
}

/** How a container ended; undefined if it was removed before that was known. */
interface End {
  /** An operand was its pod. */
  readonly inPod: boolean;
  readonly path: string;
  readonly end: ContainerStatus | undefined;
}

/** The containers of the targets, in the order of the operands. */
function endsOf(targets: readonly Target[], states: WatchedStates): readonly End[] {
  return targets.flatMap(({ kind, id, path }): readonly End[] => {
    if (kind === "container") return [{ inPod: false, path, end: states.container(id)?.end }];
    return states
      .containersOf(id)
      .map(({ name, end }) => ({ inPod: true, path: `${path}/${name}`, end }));
  });
}

function printCodes(call: Call, targets: readonly Target[], states: WatchedStates): number {
  const ends = endsOf(targets, states);
  const lines = ends.map(({ inPod, path, end }) => {
    return `${end?.exitCode ?? "unknown"}${inPod ? ` ${printable(path)}` : ""}\n`;
  });
  call.terminal.out(lines.join(""));
  const lost = ends.filter(({ end }) => end === undefined).map(({ path }) => `"${path}"`);
  if (lost.length === 0) return exitCode.done;
  throw new CommandFailure(
    exitCode.failed,
    `read the exit code of ${lost.join(", ")}: removed before it was known`,
  );
}
