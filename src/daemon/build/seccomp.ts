import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "../../base/logger.ts";
import type { SeccompNotifier } from "../../drivers/seccomp/index.ts";
import type { DeniedCalls } from "../../engine/container/index.ts";

/** The seccomp notifier, before a container needs it. */
interface BuiltNotifier extends AsyncDisposable {
  /** Listens for filters, and returns the path for specs. */
  readonly listen: () => Promise<string>;
}

/**
 * Builds the seccomp notifier. Its code is loaded with the first container that asks for it, or at once if containers
 * of an earlier daemon may have it: a command in one of them fails without a listener.
 */
export async function seccompOf(
  state: string,
  denied: Pick<DeniedCalls, "add">,
  log: Logger,
): Promise<BuiltNotifier> {
  const socketPath = join(state, "seccomp.sock");
  let opening: Promise<SeccompNotifier> | undefined;
  const open = async (): Promise<SeccompNotifier> => {
    const { SeccompNotifier } = await import("../../drivers/seccomp/index.ts");
    return new SeccompNotifier({
      socketPath,
      onDenied: ({ container, syscall, action }) => {
        denied.add(container, syscall, action);
      },
      log,
    });
  };
  const listen = async (): Promise<string> => (await (opening ??= open())).listen();
  if (existsSync(socketPath)) await listen();
  return {
    listen,
    [Symbol.asyncDispose]: async () => (await opening)?.[Symbol.dispose](),
  };
}
