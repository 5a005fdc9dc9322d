import { RuntimeError, wrap } from "../../base/errors.ts";
import type { ContainerStore, LogLine, LogSelection } from "../../core/container/index.ts";
import type { ContainerContext } from "./context.ts";

/** Which lines of its log a client asks for. */
export interface LogRequest extends Omit<LogSelection, "follow"> {
  /** Until the container has ended, or was removed. */
  readonly follow: boolean;
}

/**
 * The log of a container, in batches; see {@link ContainerLogs.read}. `failed-precondition` for a container without a
 * log.
 */
export async function* readContainerLog(
  context: Pick<ContainerContext, "store" | "logs">,
  idOrPrefix: string,
  request: LogRequest,
  signal: AbortSignal,
): AsyncGenerator<readonly LogLine[]> {
  const { id, hasLog, logPath } = context.store.resolve(idOrPrefix);
  const doing = `read the log of container "${id}"`;
  if (!hasLog) {
    throw new RuntimeError(
      "failed-precondition",
      `${doing}: it has no log, since its request had no log_path`,
    );
  }
  const { follow, ...selection } = request;
  using end = follow ? endOf(context.store, id) : undefined;
  try {
    yield* context.logs.read(logPath, { ...selection, follow: end }, signal);
  } catch (error) {
    throw wrap(doing, error);
  }
}

/** Says when a container has ended. Its log is complete then, because its runtime reports the end after that. */
function endOf(store: ContainerStore, id: string): Disposable & { readonly ended: AbortSignal } {
  const end = new AbortController();
  const look = (): void => {
    const state = store.peek(id)?.state.name;
    if (state === undefined || state === "exited") end.abort();
  };
  const listening = store.listen((container) => {
    if (container.id === id) look();
  });
  look();
  return { ended: end.signal, [Symbol.dispose]: () => listening[Symbol.dispose]() };
}
