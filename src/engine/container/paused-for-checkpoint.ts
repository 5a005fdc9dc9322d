import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../../base/errors.ts";
import { beforeAbort } from "../../base/wait.ts";
import { containerSubject } from "../lifecycle/subjects.ts";
import { type ContainerContext, runtimeOf } from "./context.ts";
import { pausedSince } from "./paused.ts";

// How long one call may take that lets a container run on.
const resumeMs = 5_000;
// How long a program may continue to capture whose daemon has ended: the longest time limit of a checkpoint.
const lateMs = 600_000;
const firstWaitMs = 250;
const maxWaitMs = 5_000;

/**
 * Lets a container run on that a checkpoint has paused, and deletes the note of it. Does nothing for one without the
 * note. The caller holds its lock.
 */
export async function resumePaused(context: ContainerContext, id: string): Promise<void> {
  await resumeNoted(context, id);
  forgetPause(context, id);
}

/** Like {@link resumePaused}, but keeps the note. */
export async function resumeNoted(context: ContainerContext, id: string): Promise<void> {
  const container = context.store.peek(id);
  if (container?.pausedForCheckpoint === undefined || container.state.name !== "running") return;
  if (pausedSince(container) !== undefined) return;
  const { freezer } = runtimeOf(context, container);
  await beforeAbort(freezer.resume(id), AbortSignal.timeout(resumeMs));
}

/**
 * Lets a container run on whose checkpoint failed or lost its daemon, now and whenever it is paused again meanwhile.
 *
 * NOTE(criu): a dump thaws the cgroup of the container while it works. At its end it freezes the cgroup again, if it was
 * frozen before (seize.c, freezer_restore_state()). It must not be killed: the processes may be running code of it.
 */
export async function resumeUntilCaptureEnds(context: ContainerContext, id: string): Promise<void> {
  await resumeIfPaused(context, id);
  context.tasks.spawn(`keep container "${id}" running`, async (signal) => {
    const over = context.clock.nowMs() + lateMs;
    let waitMs = firstWaitMs;
    while (context.clock.nowMs() < over) {
      await sleep(waitMs, undefined, { signal, ref: false });
      if (!(await resumeIfPaused(context, id))) return;
      waitMs = Math.min(waitMs * 2, maxWaitMs);
    }
    using _turn = await context.locks.acquire(id, signal);
    forgetPause(context, id);
  });
}

/** False once there is nothing to resume any more. */
async function resumeIfPaused(context: ContainerContext, id: string): Promise<boolean> {
  using _turn = await context.locks.acquire(id);
  const container = context.store.peek(id);
  if (container?.pausedForCheckpoint === undefined || container.state.name !== "running") {
    return false;
  }
  if (pausedSince(container) !== undefined) {
    // Its user has paused it since.
    forgetPause(context, id);
    return false;
  }
  if (await runtimeOf(context, container).freezer.isPaused(id)) {
    await resumeNoted(context, id);
    const subject = containerSubject(container, context.sandboxes);
    context.log.info("resumed a container that an unfinished checkpoint had paused", subject);
  }
  return true;
}

function forgetPause(context: ContainerContext, id: string): void {
  if (context.store.peek(id)?.pausedForCheckpoint === undefined) return;
  try {
    context.store.update(id, ({ pausedForCheckpoint: _gone, ...now }) => now);
  } catch (error) {
    // The container runs. At worst the next daemon resumes it once more.
    context.log.warn("failed to record that a container runs again", {
      container: id,
      error: messageOf(error),
    });
  }
}
