import { messageOf, wrap } from "../../base/errors.ts";
import type { Container } from "../../core/container/index.ts";
import { adoptProcess } from "../container/adopt.ts";
import { type ContainerContext, runtimeOf } from "../container/context.ts";
import { pausedSince } from "../container/paused.ts";
import {
  resumeNoted,
  resumePaused,
  resumeUntilCaptureEnds,
} from "../container/paused-for-checkpoint.ts";

const retryMs = 1_000;

/** Containers that a checkpoint has paused. Disposing of them resumes those that are still paused; it never throws. */
export class PausedContainers implements AsyncDisposable {
  readonly #context: ContainerContext;
  readonly #ids = new Set<string>();
  #captureFailed = false;

  private constructor(context: ContainerContext) {
    this.#context = context;
  }

  /**
   * Pauses running containers at the same time, all or none: after an error all run on. One that is paused already stays
   * so, also afterwards. Each pause is noted in the record of its container first, so that the next daemon resumes it
   * if this one ends. The caller holds the locks of the containers.
   */
  static async pause(
    context: ContainerContext,
    containers: readonly Container[],
    signal: AbortSignal,
  ): Promise<PausedContainers> {
    const paused = new PausedContainers(context);
    const pauses = await Promise.allSettled(
      containers.map((container) => paused.#pause(container, signal)),
    );
    const failed = pauses.find((pause) => pause.status === "rejected");
    if (failed === undefined) return paused;
    await paused[Symbol.asyncDispose]();
    throw failed.reason;
  }

  async #pause(container: Container, signal: AbortSignal): Promise<void> {
    const { id, state } = container;
    if (state.name !== "running") return;
    // The recovery may have failed to do so.
    await adoptProcess(this.#context, container, state);
    const { freezer } = runtimeOf(this.#context, container);
    if (pausedSince(container) !== undefined || (await freezer.isPaused(id))) return;
    this.#context.store.update(id, (now) => ({ ...now, pausedForCheckpoint: true }));
    this.#ids.add(id);
    this.#context.captured.add(id);
    await freezer.pause(id, signal);
  }

  /** Captures a container. After a failure, what captures may continue for a while. */
  async capture(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#captureFailed = true;
      throw error;
    }
  }

  /** Resumes all. Rejects if one cannot be resumed; that is tried again later. */
  async resume(): Promise<void> {
    const [failure] = await this.#each((id) => resumePaused(this.#context, id));
    if (failure !== undefined) throw wrap(`resume container "${failure.id}"`, failure.error);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#captureFailed) {
      await this.#each((id) => resumePaused(this.#context, id));
      return;
    }
    await this.#each(async (id) => {
      await resumeNoted(this.#context, id);
      this.#context.tasks.spawn(`resume container "${id}"`, () =>
        resumeUntilCaptureEnds(this.#context, id),
      );
    });
  }

  async #each(
    resume: (id: string) => Promise<void>,
  ): Promise<readonly { readonly id: string; readonly error: unknown }[]> {
    const ids = [...this.#ids];
    this.#ids.clear();
    const failures: { id: string; error: unknown }[] = [];
    await Promise.all(
      ids.map(async (id) => {
        try {
          await resume(id);
        } catch (error) {
          failures.push({ id, error });
          this.#retry(id, error);
        } finally {
          this.#context.captured.delete(id);
        }
      }),
    );
    return failures;
  }

  #retry(id: string, error: unknown): void {
    const { log, janitor } = this.#context;
    log.error("failed to resume a container after a checkpoint; will retry", {
      container: id,
      error: messageOf(error),
    });
    janitor.adopt(
      `resume container ${id}`,
      () => resumeUntilCaptureEnds(this.#context, id),
      retryMs,
    );
  }
}
