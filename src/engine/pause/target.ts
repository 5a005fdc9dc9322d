import { RuntimeError } from "../../base/errors.ts";
import type { LogFields } from "../../base/logger.ts";
import type { Container } from "../../core/container/index.ts";
import type { ContainerContext } from "../container/index.ts";
import { containerSubject, sandboxSubject } from "../lifecycle/subjects.ts";

/** What a pause or resume is for: a container, or all containers of a pod. */
export interface PauseTarget {
  /** "container" or "pod". */
  readonly kind: "container" | "pod";
  /** The id of the container or of the sandbox. */
  readonly id: string;
  readonly subject: LogFields;
  /** Its containers that have not ended, in the order in which they are locked: by id. */
  readonly containerIds: readonly string[];
}

/**
 * Finds the container or the sandbox with an id, or a unique prefix of one. `not-found` for none, `invalid-argument` for
 * several.
 */
export function findTarget(
  context: Pick<ContainerContext, "store" | "sandboxes">,
  text: string,
): PauseTarget {
  const container = context.store.find(text);
  const sandbox = context.sandboxes.find(text);
  if (container !== undefined && sandbox !== undefined) {
    const what = `it is a prefix of container "${container.id}" and of sandbox "${sandbox.id}"; use more of the id`;
    throw new RuntimeError("invalid-argument", `find container or sandbox "${text}": ${what}`);
  }
  if (container !== undefined) {
    const { id } = container;
    const subject = containerSubject(container, context.sandboxes);
    return { kind: "container", id, subject, containerIds: [id] };
  }
  if (sandbox === undefined) {
    const what = "there is none with this id";
    throw new RuntimeError("not-found", `find container or sandbox "${text}": ${what}`);
  }
  const { id } = sandbox;
  const containerIds = [...context.store.listedOf(id)]
    .filter(({ state }) => state.name !== "exited")
    .map((each) => each.id)
    .toSorted();
  return { kind: "pod", id, subject: sandboxSubject(sandbox), containerIds };
}

/**
 * The containers of a target that run now, once starts in progress are over; the locks of all are held until the result
 * is disposed of. `failed-precondition` if there is none.
 */
export async function lockRunning(
  context: Pick<ContainerContext, "store" | "locks">,
  target: PauseTarget,
  signal: AbortSignal,
): Promise<{ readonly running: readonly Container[] } & Disposable> {
  const locks = new DisposableStack();
  try {
    for (const id of target.containerIds) locks.use(await context.locks.acquire(id, signal));
    const found = target.containerIds.flatMap((id) => context.store.peek(id) ?? []);
    const running = found.filter(({ state }) => state.name === "running");
    if (running.length === 0)
      throw new RuntimeError("failed-precondition", notRunning(target, found));
    const held = locks.move();
    return { running, [Symbol.dispose]: () => held.dispose() };
  } finally {
    locks.dispose();
  }
}

function notRunning({ kind }: PauseTarget, [container]: readonly Container[]): string {
  if (kind === "pod") return "no container of the pod is running";
  return `it is ${container?.state.name ?? "removed"}, not running`;
}

/** Waits for all of them, then throws the first failure. */
export async function all<T>(works: readonly Promise<T>[]): Promise<readonly T[]> {
  const results = await Promise.allSettled(works);
  return results.map((result) => {
    if (result.status === "rejected") throw result.reason;
    return result.value;
  });
}
