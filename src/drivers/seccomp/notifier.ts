import { closeSync } from "node:fs";
import { messageOf, RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { SeccompFilter, SeccompListener } from "../../linux/seccomp/index.ts";
import type { NotifierAction } from "../../oci-spec/index.ts";
import { parseNotifierMetadata } from "../../oci-spec/security/seccomp-notify.ts";
import { syscallName } from "../../oci-spec/security/syscall-numbers.ts";

/** The most filters of a container: one for its command, and one for each command that runs in it by exec. */
const maxFilters = 256;

/** A denied system call. */
export interface Denied {
  readonly container: string;
  /** The name, or "#NUMBER". */
  readonly syscall: string;
  readonly action: NotifierAction;
}

/** What a notifier needs. */
interface Deps {
  /** Only root may reach it. */
  readonly socketPath: string;
  readonly onDenied: (denied: Denied) => void;
  readonly log: Logger;
}

/** Answers the denied calls of containers. Disposing of it lets them fail with ENOSYS, unreported. */
export class SeccompNotifier implements Disposable {
  readonly #deps: Deps;
  readonly #filters = new Map<string, Set<SeccompFilter>>();
  #listener: SeccompListener | undefined;

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  /** Listens for filters, and returns the path for specs. Idempotent. */
  listen(): string {
    const { socketPath } = this.#deps;
    this.#listener ??= new SeccompListener(socketPath, {
      onFilter: (fd, text) => {
        this.#add(fd, text);
      },
      onError: (error) => {
        this.#deps.log.warn(`a seccomp filter was not received: ${messageOf(error)}`);
      },
    });
    return socketPath;
  }

  /** Takes the filter of a process of a container. A descriptor that is not kept is closed: its calls get ENOSYS. */
  #add(fd: number, text: string): void {
    try {
      const { id, metadata } = parseState(text);
      const filters = this.#filters.get(id) ?? new Set<SeccompFilter>();
      if (filters.size >= maxFilters) {
        throw new RuntimeError(
          "resource-exhausted",
          `container "${id}" has ${maxFilters} of them; denied calls of this process get ENOSYS`,
        );
      }
      const filter = this.#filterOf(fd, id, metadata, filters);
      this.#filters.set(id, filters.add(filter));
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  #filterOf(
    fd: number,
    container: string,
    metadata: unknown,
    filters: Set<SeccompFilter>,
  ): SeccompFilter {
    const { action, errno, errnos = {} } = parseNotifierMetadata(metadata);
    const filter: SeccompFilter = new SeccompFilter(
      fd,
      ({ arch, number }) => {
        const syscall = syscallName(arch, number);
        this.#deps.onDenied({ container, syscall, action });
        return errnos[syscall] ?? errno;
      },
      (error) => {
        filters.delete(filter);
        if (filters.size === 0) this.#filters.delete(container);
        if (error === undefined) return;
        this.#deps.log.error(
          `denied system calls of container "${container}" are not reported any more: ${messageOf(error)}`,
          { container },
        );
      },
    );
    return filter;
  }

  [Symbol.dispose](): void {
    this.#listener?.[Symbol.dispose]();
    this.#listener = undefined;
    for (const filters of this.#filters.values()) {
      for (const filter of filters) filter[Symbol.dispose]();
    }
    this.#filters.clear();
  }
}

/** The id and the metadata in the state that an OCI runtime sends (runtime-spec, "Container Process State"). */
function parseState(text: string): { readonly id: string; readonly metadata: unknown } {
  const value: unknown = JSON.parse(text);
  const { state, metadata } = Object(value) as {
    readonly state?: { readonly id?: unknown };
    readonly metadata?: unknown;
  };
  const id = state?.id;
  if (typeof id === "string" && id !== "" && id.length <= 256) return { id, metadata };
  throw new RuntimeError("invalid-argument", "read the state of a process: it has no id");
}
